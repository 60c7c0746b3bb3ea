// The page keeps itself up to date: hears of changes by server-sent events, fetches the part that changes and puts it
// into the document. Idiomorph keeps every node that stays, so that focus, scroll position, loaded pictures and open
// details are not disturbed; it recognises nodes by their id. Without this script the pages still work.
"use strict";

const SILENCE_MS = 10000; // the server speaks every 3 s; silence for longer means the connection is lost
const POLL_MS = 15000; // a page in the background, which has given its connection back, asks this often
const SETTLE_MS = 700; // a button that has just moved under the pointer is not pressed by accident
const live = document.getElementById("live");
const at = (id) => document.getElementById(id);
const { root } = document.documentElement.dataset; // the path before every address of this node, behind a proxy
const isList = Boolean(live?.dataset.live?.startsWith(`${root}/rows`));
const shown = []; // what is to be done after the page has changed
const parts = [live, document.querySelector("body > #alarms")].filter((part) => part?.dataset.live);
const etags = new Map();
let fetching = false;
let again = false;
let heardAt = Date.now();
let updatedAt = null;
let lost = false;
let settledAt = 0;
let serverAhead = 0; // ms that the server's clock is ahead of this one
let source = null;
let leaving = null; // the row that its reader has just acted on, and its looks before: its successor gets the focus

const twoDigits = (number) => String(number).padStart(2, "0");

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  if (whole < 60) return `${whole} s`;
  if (hours < 1) return `${minutes} min`;
  if (hours < 24) return `${hours} h ${twoDigits(minutes)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// On the node's clock, as all times of the page.
function nodeTime(moment) {
  const there = new Date(moment.getTime() + Number(at("zone")?.dataset.minutes || 0) * 60000);
  return there.toISOString().slice(11, 19);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now() + serverAhead;
  for (const element of document.querySelectorAll("time.since")) {
    write(element, duration((now - Date.parse(element.dateTime)) / 1000));
  }
}

function rowsOnPage() {
  return [...live.querySelectorAll("tr[id]")];
}

// What is typed, ticked, opened or told by a script is not the server's to take back, nor is what has data-still.
const SENT = { value: "defaultValue", checked: "defaultChecked" };
const KEEPING = {
  beforeNodeMorphed: (node) => !node.hasAttribute?.("data-still"),
  beforeAttributeUpdated: (name, node, change) => {
    if (change === "remove" && (name === "title" || (name === "open" && node.nodeName === "DETAILS"))) return false;
    return !(SENT[name] in node) || node[name] === node[SENT[name]];
  },
};

// Idiomorph would take rows out and put them back when one comes between: the line breaks there look alike to it.
function dropBlanks(root) {
  for (const element of [root, ...root.querySelectorAll("table, thead, tbody, tr")]) {
    for (const node of [...element.childNodes]) {
      if (node.nodeType === Node.TEXT_NODE && !node.data.trim()) node.remove();
    }
  }
}

function show(text) {
  const before = rowsOnPage().map((row) => row.id);
  const focused = document.activeElement;
  const focusedRow = focused?.closest?.("tr[id]")?.id;
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("live");
  if (!fresh) return;
  dropBlanks(live);
  dropBlanks(fresh);
  Idiomorph.morph(live, fresh, { callbacks: KEEPING });
  tick();
  if (rowsOnPage().map((row) => row.id).join() !== before.join()) settledAt = Date.now() + SETTLE_MS;
  refocus(focused, focusedRow, before);
}

// The focus stays where it was; a row that its reader has dealt with gives it to the one that takes its place.
function refocus(focused, focusedRow, before) {
  const rows = rowsOnPage();
  const place = focusedRow && rows[Math.min(before.indexOf(focusedRow), rows.length - 1)];
  const left = leaving && (!leaving.row.isConnected || leaving.row.className !== leaving.looks);
  if (left && leaving.row.contains(focused) && place !== leaving.row) {
    (place || live).focus();
  } else if (focused && focused !== document.body && document.activeElement !== focused) {
    const same = focusedRow && rows.find((row) => row.id === focusedRow);
    (focused.isConnected ? focused : same || place || live).focus({ preventScroll: true });
  }
  if (left) leaving = null;
}

function entitle() {
  const count = Number((live.dataset.suspected ?? at("alarms")?.dataset.suspected) || 0);
  const title = (count ? `(${count}) suspected – ` : "") + (live.dataset.name || "triage-node");
  document.title = lost ? `Connection lost – ${title}` : title;
  const icon = document.querySelector("link[rel=icon]");
  const wanted = count ? icon.dataset.alert : icon.dataset.calm;
  if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
}

async function refresh() {
  again = fetching;
  if (fetching) return;
  fetching = true;
  try {
    await update();
  } catch {
    disconnected();
  } finally {
    fetching = false;
  }
  if (again) refresh();
}

async function update() {
  for (const part of parts) {
    const etag = etags.get(part);
    const headers = etag ? { "If-None-Match": etag } : {};
    const signal = AbortSignal.timeout(SILENCE_MS);
    const response = await fetch(part.dataset.live, { headers, cache: "no-store", signal });
    if (response.status === 404) {
      location.reload();
      return;
    }
    if (response.ok) await take(part, response);
    else if (response.status !== 304) throw new Error(response.statusText);
  }
  updatedAt = new Date();
  connected();
}

async function take(part, response) {
  const text = await response.text();
  serverAhead = Date.parse(response.headers.get("Date")) - Date.now() || 0;
  if (Math.abs(serverAhead) < 2000) serverAhead = 0;
  etags.set(part, response.headers.get("ETag"));
  if (part === live) show(text);
  else Idiomorph.morph(part, text.trim());
  for (const each of shown) each();
  entitle();
}

function connected() {
  if (lost) toast(`Connected again at ${nodeTime(updatedAt)}: what is shown is up to date.`);
  lost = false;
  at("lost").hidden = true;
  document.body.classList.remove("stale");
  tellLink("live", `Live ${nodeTime(updatedAt)}`);
}

function disconnected() {
  if (lost) return;
  lost = true;
  const since = updatedAt ? nodeTime(updatedAt) : "the page was opened";
  const consequence = "may be out of date: new studies do not appear. Trying to reconnect…";
  write(at("lost"), `Connection lost. What is shown here is of ${since} and ${consequence}`);
  at("lost").hidden = false;
  document.body.classList.add("stale");
  tellLink("lost", "Not connected");
}

function tellLink(state, text) {
  at("link").dataset.state = state;
  write(at("link").querySelector(".text"), text);
  entitle();
}

function listen() {
  source?.close();
  source = new EventSource(`${root}/events`);
  const heard = () => {
    heardAt = Date.now();
    refresh();
  };
  source.addEventListener("changed", heard);
  source.addEventListener("alive", heard);
  source.addEventListener("error", disconnected);
}

// A browser opens few connections to one server: background tabs of studies give theirs back, the list keeps its own.
function pause() {
  if (isList) return;
  source?.close();
  source = null;
  if (document.hidden) return;
  heardAt = Date.now();
  listen();
}

function watch() {
  tick();
  if (!source && document.hidden && Date.now() - heardAt > POLL_MS) {
    heardAt = Date.now();
    refresh();
  }
  if (!source) return;
  const silent = Date.now() - heardAt > SILENCE_MS;
  if (silent) disconnected();
  if (silent || source.readyState === EventSource.CLOSED) {
    heardAt = Date.now();
    listen();
  }
}

const TOAST_MS = 5000;
const UNDO_MS = 10000;
let toastTimer = 0;

// Says something for a while; `undo`, where there is one, stands beside it as a button.
function toast(text, undo) {
  const place = at("toast");
  place.replaceChildren(text);
  if (undo) {
    const button = Object.assign(document.createElement("button"), { className: "button", textContent: "Undo" });
    button.addEventListener("click", () => {
      place.hidden = true;
      undo();
    });
    place.append(" ", button);
  }
  place.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    place.hidden = true;
  }, undo ? UNDO_MS : TOAST_MS);
}

async function post(url) {
  const response = await fetch(url, { method: "POST", headers: { Accept: "application/json" }, keepalive: true });
  return (await response.json()).said;
}

// Somebody looks at the study: colleagues see it on their lists. That it could not be said keeps nobody from it.
function tellOpened(url) {
  post(url).catch(() => {});
}

tick();
if (parts.length) {
  entitle();
  listen();
  setInterval(watch, 1000);
  document.addEventListener("visibilitychange", pause);
  addEventListener("pageshow", (event) => event.persisted && refresh());
  if (live.dataset.opened) tellOpened(live.dataset.opened);
}
