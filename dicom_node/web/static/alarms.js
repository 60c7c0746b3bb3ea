// A newly suspected study is announced on every page, whatever filter is on: to screen readers always, in words where
// the list is not shown, by a sound and by a notification of the browser where the reader has switched them on (kept in
// this browser). No name is told outside the page.
"use strict";

const NEWS_MS = 20000;
const HIDDEN_MS = 300; // a page in the background lets one that is seen speak first
const KEPT = "last-flagged"; // in this tab: what falls between two of its pages is told on the second
const SPOKEN = "last-spoken"; // in this browser: of several pages only one sounds
const SOUND_NOTE =
  "This is how it sounds. " +
  "After the page is loaded anew, the browser lets it sound once you have clicked or typed in it.";
const NOTICE_NOTE = "A notification says what is suspected and age and sex, no name.";
const REFUSED_NOTE = "This browser does not permit notifications to this page: see its settings for the site.";
const remembered = (name) => localStorage.getItem(name) === "on";
const remember = (name, on) => localStorage.setItem(name, on ? "on" : "off");
const mayNotify = () => "Notification" in window && Notification.permission === "granted";
const flaggedAt = (flag) => Date.parse(flag.dataset.flagged);
const inWords = new Set(); // the IDs of what the page tells of in words
let audio = null;
let lastFlagged = sessionStorage.getItem(KEPT);

function flags() {
  return [...at("alarms").children];
}

// The list of a page that is not the worklist is empty until it has been fetched.
function isFetched() {
  return !at("alarms").dataset.live || "suspected" in at("alarms").dataset;
}

function lookForAlarms() {
  if (!isFetched()) return;
  const fallen = lastFlagged === null ? [] : flags().filter((flag) => flaggedAt(flag) > Number(lastFlagged));
  lastFlagged = flags().reduce((last, flag) => Math.max(last, flaggedAt(flag)), Number(lastFlagged));
  sessionStorage.setItem(KEPT, lastFlagged);
  for (const flag of fallen) inWords.add(flag.id);
  if (!isList) tellInWords();
  if (!fallen.length) return;
  const said = fallen.map((flag) => `${flag.dataset.who}: ${flag.textContent}`);
  write(at("announce"), `New suspected: ${said.join("; ")}`);
  for (const flag of fallen) markRow(flag);
  if (document.hidden) setTimeout(speak, HIDDEN_MS, fallen);
  else speak(fallen);
}

function markRow(flag) {
  const row = at(flag.id.replace("alarm-", "row-"));
  row?.classList.add("new");
  setTimeout(() => row?.classList.remove("new"), NEWS_MS);
}

// What has come since the page was opened, until somebody acknowledges it or the reader closes it.
function tellInWords() {
  const known = flags().filter((flag) => inWords.has(flag.id));
  const links = known.map((flag) => {
    const link = document.createElement("a");
    Object.assign(link, { href: flag.dataset.opens, target: "_top" });
    link.textContent = `${flag.dataset.who}: ${flag.textContent}`;
    return link;
  });
  const key = known.map((flag) => flag.id + flag.textContent).join();
  if (at("news").dataset.key === key) return;
  at("news").dataset.key = key;
  at("news").hidden = !known.length;
  at("news").replaceChildren(...newsOf(links));
}

function newsOf(links) {
  const title = document.createElement("strong");
  const close = document.createElement("button");
  title.textContent = "New suspected";
  Object.assign(close, { className: "button", type: "button", textContent: "Close" });
  close.addEventListener("click", () => {
    inWords.clear();
    tellInWords();
  });
  return [title, ...links, close];
}

// Only one of several open pages speaks of the same.
function speak(fallen) {
  const spoken = Number(localStorage.getItem(SPOKEN));
  const fresh = fallen.filter((flag) => flaggedAt(flag) > spoken);
  if (!fresh.length) return;
  localStorage.setItem(SPOKEN, Math.max(...fresh.map(flaggedAt)));
  if (remembered("notify")) fresh.forEach(notifyOf);
  if (remembered("sound")) sound();
}

function notifyOf(flag) {
  if (!mayNotify()) return;
  const body = [flag.textContent, flag.dataset.short].filter(Boolean).join(" · ");
  const notice = new Notification(flag.dataset.title, { body, tag: flag.id, icon: `${root}/static/alert.svg` });
  notice.onclick = () => window.focus();
}

// A browser lets a page sound only after a key or a click in it.
function wakeAudio() {
  audio ??= new AudioContext();
  audio.resume();
}

// Two soft tones, the second higher.
function sound() {
  wakeAudio();
  playTone(660, 0);
  playTone(880, 0.22);
}

function playTone(hertz, wait) {
  const begin = audio.currentTime + 0.05 + wait;
  const tone = new OscillatorNode(audio, { frequency: hertz });
  const volume = new GainNode(audio, { gain: 0 });
  volume.gain.setTargetAtTime(0.18, begin, 0.015);
  volume.gain.setTargetAtTime(0, begin + 0.14, 0.05);
  tone.connect(volume).connect(audio.destination);
  tone.start(begin);
  tone.stop(begin + 0.5);
}

function tellAlerts() {
  const on = [remembered("sound") && "Sound", remembered("notify") && "notification"].filter(Boolean);
  write(at("alerts").querySelector("summary"), on.length ? "Alerts on" : "Alerts off");
}

function switchSound(event) {
  const wanted = event.target.checked;
  remember("sound", wanted);
  if (wanted) sound();
  write(at("alerts-note"), wanted ? SOUND_NOTE : "No sound.");
  tellAlerts();
}

async function switchNotices(event) {
  const wanted = event.target.checked;
  if (wanted && "Notification" in window) await Notification.requestPermission();
  const given = wanted && mayNotify();
  event.target.checked = given;
  remember("notify", given);
  const refused = wanted ? REFUSED_NOTE : "No notifications.";
  write(at("alerts-note"), given ? NOTICE_NOTE : refused);
  tellAlerts();
}

function offerAlerts() {
  at("alerts").hidden = false;
  at("sound").checked = remembered("sound");
  at("notify").checked = remembered("notify") && mayNotify();
  at("sound").addEventListener("change", switchSound);
  at("notify").addEventListener("change", switchNotices);
  tellAlerts();
}

if (at("alerts")) offerAlerts();
for (const kind of ["pointerdown", "keydown"]) {
  addEventListener(kind, () => remembered("sound") && wakeAudio(), { once: true });
}
shown.push(lookForAlarms);
lookForAlarms();
