// A newly suspected study is announced whatever filter is on: to screen readers always, by a sound and by a
// notification of the browser where the reader has switched them on (kept in this browser). No name is told outside
// the page.
"use strict";

const NEWS_MS = 20000;
const SOUND_NOTE =
  "This is how it sounds. " +
  "After the page is loaded anew, the browser lets it sound once you have clicked or typed in it.";
const NOTICE_NOTE = "A notification says what is suspected and age and sex, no name.";
const REFUSED_NOTE = "This browser does not permit notifications to this page: see its settings for the site.";
const remembered = (name) => localStorage.getItem(name) === "on";
const remember = (name, on) => localStorage.setItem(name, on ? "on" : "off");
const mayNotify = () => "Notification" in window && Notification.permission === "granted";
let audio = null;
let lastFlagged = latest();

function flags() {
  return [...at("alarms").children];
}

function latest() {
  return flags().reduce((last, flag) => Math.max(last, Date.parse(flag.dataset.flagged)), 0);
}

function lookForAlarms() {
  const fallen = flags().filter((flag) => Date.parse(flag.dataset.flagged) > lastFlagged);
  if (!fallen.length) return;
  lastFlagged = latest();
  const said = fallen.map((flag) => `${flag.dataset.who}: ${flag.textContent}`);
  write(at("announce"), `New suspected: ${said.join("; ")}`);
  for (const flag of fallen) {
    const row = at(flag.id.replace("alarm-", "row-"));
    row?.classList.add("new");
    setTimeout(() => row?.classList.remove("new"), NEWS_MS);
    if (remembered("notify")) notifyOf(flag);
  }
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

at("alerts").hidden = false;
at("sound").checked = remembered("sound");
at("notify").checked = remembered("notify") && mayNotify();
at("sound").addEventListener("change", switchSound);
at("notify").addEventListener("change", switchNotices);
for (const kind of ["pointerdown", "keydown"]) {
  addEventListener(kind, () => remembered("sound") && wakeAudio(), { once: true });
}
shown.push(lookForAlarms);
tellAlerts();
