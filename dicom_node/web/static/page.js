// The page keeps itself up to date: hears of changes by server-sent events, fetches the part that changes and puts it
// into the document (morph.js). Without this script the pages still work.
"use strict";

const SILENCE_MS = 10000; // the server speaks every 3 s; silence for longer means the connection is lost
const SETTLE_MS = 700; // a button that has just moved under the pointer is not pressed by accident
const live = document.getElementById("live");
const at = (id) => document.getElementById(id);
let etag = null;
let fetching = false;
let again = false;
let heardAt = Date.now();
let updatedAt = null;
let lost = false;
let settledAt = 0;
let serverAhead = 0; // ms that the server's clock is ahead of this one
let source = null;

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  if (whole < 60) return `${whole} s`;
  if (hours < 1) return `${minutes} min`;
  return hours < 24 ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function localTime(moment) {
  const time = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const today = moment.toDateString() === new Date().toDateString();
  const day = `${moment.getFullYear()}-${String(moment.getMonth() + 1).padStart(2, "0")}-${String(moment.getDate()).padStart(2, "0")}`;
  return today ? time : `${day} ${time}`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now() + serverAhead;
  for (const element of document.querySelectorAll("time.since")) {
    write(element, duration((now - Date.parse(element.dateTime)) / 1000));
  }
  for (const element of document.querySelectorAll("time.clock")) {
    write(element, localTime(new Date(element.dateTime)));
    element.title = element.dateTime;
  }
}

function rowsOnPage() {
  return [...live.querySelectorAll("tr[data-key]")];
}

function alarms() {
  return new Map([...live.querySelectorAll("[data-alarm]")].map((row) => [row.dataset.key, row.dataset.alarm]));
}

function show(text) {
  const before = alarms();
  const order = rowsOnPage().map((row) => row.dataset.key).join();
  const focused = document.activeElement;
  const focusedKey = focused?.closest?.("[data-key]")?.dataset.key;
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("live");
  if (!fresh) return;
  morph(live, fresh);
  tick();
  if (rowsOnPage().map((row) => row.dataset.key).join() !== order) settledAt = Date.now() + SETTLE_MS;
  if (focused && focused !== document.body && document.activeElement !== focused) {
    const stays = focused.isConnected ? focused : focusedKey && live.querySelector(`tr[data-key="${CSS.escape(focusedKey)}"]`);
    (stays || live).focus({ preventScroll: true });
  }
  const fallen = [...alarms()].filter(([key]) => !before.has(key)).map(([, alarm]) => alarm);
  if (fallen.length) write(at("announce"), `New suspected: ${fallen.join("; ")}`);
  entitle();
}

function entitle() {
  const count = Number(live.dataset.suspected || 0);
  const title = (count ? `(${count}) suspected – ` : "") + (live.dataset.name || "triage-node");
  document.title = lost ? `Connection lost – ${title}` : title;
  const icon = document.querySelector("link[rel=icon]");
  const wanted = count ? icon.dataset.alert : icon.dataset.calm;
  if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
}

async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const headers = etag ? { "If-None-Match": etag } : {};
    const response = await fetch(live.dataset.live, { headers, cache: "no-store", signal: AbortSignal.timeout(SILENCE_MS) });
    if (response.status === 404) location.reload();
    if (response.ok) {
      const text = await response.text();
      serverAhead = Date.parse(response.headers.get("Date")) - Date.now() || 0;
      if (Math.abs(serverAhead) < 2000) serverAhead = 0;
      etag = response.headers.get("ETag");
      show(text);
    }
    if (response.ok || response.status === 304) {
      updatedAt = new Date();
      connected();
    } else if (response.status !== 404) {
      disconnected();
    }
  } catch {
    disconnected();
  } finally {
    fetching = false;
  }
  if (again) {
    again = false;
    refresh();
  }
}

function connected() {
  lost = false;
  at("lost").hidden = true;
  document.body.classList.remove("stale");
  at("link").dataset.state = "live";
  write(at("link").querySelector(".text"), `Live ${localTime(updatedAt)}`);
  entitle();
}

function disconnected() {
  if (lost) return;
  lost = true;
  const since = updatedAt ? localTime(updatedAt) : "the page was opened";
  write(at("lost"), `Connection lost. What is shown here is of ${since} and may be out of date. Trying to reconnect…`);
  at("lost").hidden = false;
  document.body.classList.add("stale");
  at("link").dataset.state = "lost";
  write(at("link").querySelector(".text"), "Not connected");
  entitle();
}

function listen() {
  source?.close();
  source = new EventSource("/events");
  const heard = () => {
    heardAt = Date.now();
    refresh();
  };
  source.addEventListener("changed", heard);
  source.addEventListener("alive", heard);
  source.addEventListener("error", () => disconnected());
}

// A browser opens few connections to one server: studies in background tabs give theirs back, the worklist keeps its own.
function pause() {
  if (live.dataset.live === "/rows") return;
  source?.close();
  source = null;
  if (document.hidden) return;
  heardAt = Date.now();
  listen();
}

function watch() {
  tick();
  if (!source) return;
  const silent = Date.now() - heardAt > SILENCE_MS;
  if (silent) disconnected();
  if (silent || source.readyState === EventSource.CLOSED) {
    heardAt = Date.now();
    listen();
  }
}

let toastTimer = 0;
function toast(text) {
  write(at("toast"), text);
  at("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { at("toast").hidden = true; }, 5000);
}

async function send(form) {
  const who = form.closest("tr")?.querySelector(".name")?.textContent;
  try {
    const response = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" } });
    const { said } = await response.json();
    toast(who ? `${who}: ${said}` : said);
  } catch {
    toast("Not done: the server does not answer. Please try again.");
  }
  settledAt = Date.now() + SETTLE_MS;
  refresh();
}

function focusRow(step) {
  const rows = rowsOnPage();
  if (!rows.length) return;
  const here = rows.indexOf(document.activeElement?.closest("tr[data-key]"));
  const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + step));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

function acknowledge() {
  const list = live.querySelector("table.list");
  const within = list ? document.activeElement?.closest("tr[data-key]") : live;
  const button = within?.querySelector("[data-do=acknowledge]");
  if (button) button.form.requestSubmit();
  else toast(within ? "There is nothing to acknowledge here." : "Choose a study first, with j and k.");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, textarea, select")) return;
  if (event.key === "j") focusRow(1);
  else if (event.key === "k") focusRow(-1);
  else if (event.key === "a" && !event.repeat) acknowledge();
  else if (event.key === "Enter" && event.target.dataset?.open) location.assign(event.target.dataset.open);
  else if (event.key === "Escape" && live.classList.contains("study-page")) location.assign("/");
  else return;
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  if (!event.isTrusted || event.detail === 0 || Date.now() > settledAt || !event.target.closest("[data-do]")) return;
  event.preventDefault();
  toast("The list has just moved: please press again.");
}, true);

document.addEventListener("submit", (event) => {
  event.preventDefault();
  send(event.target);
});

// Coming back from a study, the reader is where he was.
addEventListener("pagehide", () => {
  const key = live?.classList.contains("study-page") ? live.dataset.live.split("/")[2].split("?")[0] : null;
  if (key) sessionStorage.setItem("came-from", key);
});

function arrive() {
  const key = sessionStorage.getItem("came-from");
  const row = key && live.querySelector(`tr[data-key="${CSS.escape(key)}"]`);
  if (row) {
    row.focus();
    sessionStorage.removeItem("came-from");
  }
}

tick();
if (live?.dataset.live) {
  arrive();
  entitle();
  listen();
  setInterval(watch, 1000);
  document.addEventListener("visibilitychange", pause);
  addEventListener("pageshow", (event) => event.persisted && refresh());
}
