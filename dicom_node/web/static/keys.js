// Keys, buttons and menus of the worklist and of a study's page, and coming back to where the reader was.
"use strict";

const MOVED = "The list has just moved: please press again.";
const PUT_BACK = "There is nothing to take back here; what was read is under Mine or All.";

async function send(form, verb) {
  const row = form.closest("tr");
  const who = row?.querySelector(".name")?.textContent;
  leaving = row && { row, looks: row.className };
  const undo = form.action.replace(/\/(acknowledge|read)(\?.*)?$/, "/unread");
  await act(form.action, who, verb === "unread" ? null : () => act(undo, who));
}

async function act(url, who, undo) {
  try {
    const said = await post(url);
    toast(who ? `${who}: ${said}` : said, undo);
  } catch {
    toast("Not done: the server does not answer. Please try again.");
  }
  settledAt = Date.now() + SETTLE_MS;
  refresh();
}

// The row in the focus, or what was done last, as long as that is offered.
function takeBack() {
  const offered = at("toast").hidden ? null : at("toast").querySelector("button");
  const within = isList ? document.activeElement?.closest("tr[data-key]") : live;
  const ofRow = within?.querySelector("[data-do=unread]") && Date.now() >= settledAt;
  if (offered && !ofRow) offered.click();
  else press("unread", PUT_BACK);
}

function focusAt(place) {
  const rows = rowsOnPage();
  const row = rows[Math.min(rows.length - 1, Math.max(0, place))];
  row?.focus();
  row?.scrollIntoView({ block: "nearest" });
}

function here() {
  return rowsOnPage().indexOf(document.activeElement?.closest("tr[data-key]"));
}

function move(step) {
  const now = here();
  focusAt(now < 0 ? (step > 0 ? 0 : Infinity) : now + step);
}

function press(verb, none) {
  const within = isList ? document.activeElement?.closest("tr[data-key]") : live;
  const button = within?.querySelector(`[data-do=${verb}]`);
  if (!within) toast("Choose a study first, with j and k.");
  else if (!button) toast(none);
  else if (Date.now() < settledAt && isList) toast(MOVED);
  else button.form.requestSubmit(button);
}

function follow(link) {
  document.activeElement?.closest("tr[data-key]")?.querySelector(link)?.click();
}

function leave(event) {
  const open = document.querySelector("details.menu[open]");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  } else if (event.target.matches("input")) {
    event.target.blur();
  } else if (live.classList.contains("study-page")) {
    location.assign(sessionStorage.getItem("list") || `${root}/`);
  }
}

const REPEATED = ["j", "k", "ArrowDown", "ArrowUp"];
const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  a: () => press("acknowledge", "There is nothing to acknowledge here."),
  r: () => press("read", "Acknowledge it first, then mark it as read."),
  u: takeBack,
  d: () => follow("a.name"),
  "/": () => at("q")?.focus(),
  "?": () => at("help")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  const combined = event.ctrlKey || event.altKey || event.metaKey || event.isComposing;
  if (combined || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    leave(event);
    return;
  }
  if (event.target.closest("input, textarea, select") || !live) return;
  if (event.key === "Enter" && event.target.matches?.("tr[data-key]")) follow("a.open");
  else if (event.key.startsWith("Arrow") && (!isList || event.target.closest("details, nav"))) return;
  else if (KEYS[event.key] && (!event.repeat || REPEATED.includes(event.key))) KEYS[event.key]();
  else return;
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  if (!event.isTrusted || event.detail === 0 || Date.now() > settledAt || !event.target.closest("[data-do]")) return;
  event.preventDefault();
  toast(MOVED);
}, true);

for (const kind of ["click", "auxclick"]) {
  document.addEventListener(kind, (event) => {
    const url = event.button < 2 && event.target.closest("a[data-opens]")?.dataset.opens;
    if (url && event.target.closest("tr.unread")) tellOpened(url);
  });
}

document.addEventListener("submit", (event) => {
  if (!event.submitter?.dataset.do) return;
  event.preventDefault();
  send(event.target, event.submitter.dataset.do);
});

// Coming back from a study, the reader is where he was, with the same filter.
addEventListener("pagehide", () => {
  const study = live?.dataset.live?.match(/\/studies\/([^?/]+)/);
  if (study) sessionStorage.setItem("came-from", study[1]);
  else if (isList && here() >= 0) sessionStorage.setItem("came-from", rowsOnPage()[here()].dataset.key);
});

function arrive() {
  const key = sessionStorage.getItem("came-from");
  const row = key && live.querySelector(`tr[data-key="${CSS.escape(key)}"]`);
  row?.focus();
  sessionStorage.removeItem("came-from");
}

if (isList) {
  arrive();
  sessionStorage.setItem("list", location.pathname + location.search);
  at("help-button").hidden = false;
  at("help-button").addEventListener("click", () => at("help").showModal());
} else {
  const list = sessionStorage.getItem("list");
  const links = document.querySelectorAll(`.back a, .top nav a[href="${root}/"]`);
  if (list) links.forEach((link) => link.setAttribute("href", list));
}
