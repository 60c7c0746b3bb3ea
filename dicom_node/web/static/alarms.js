// A newly suspected study is announced whatever filter is on: to screen readers always, by a sound and by a notification
// of the browser where the reader has switched them on (kept in this browser). No name is told outside the page.
"use strict";

const NEWS_MS = 20000;
const remembered = (name) => localStorage.getItem(name) === "on";
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
  write(at("announce"), `New suspected: ${fallen.map((flag) => `${flag.dataset.who}: ${flag.textContent}`).join("; ")}`);
  for (const flag of fallen) {
    const row = at(flag.id.replace("alarm-", "row-"));
    row?.classList.add("new");
    setTimeout(() => row?.classList.remove("new"), NEWS_MS);
    if (remembered("notify")) notifyOf(flag);
  }
  if (remembered("sound")) sound();
}

function notifyOf(flag) {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  const body = [flag.textContent, flag.dataset.short].filter(Boolean).join(" · ");
  const notice = new Notification(flag.dataset.title, { body, tag: flag.id, icon: "/static/alert.svg" });
  notice.onclick = () => window.focus();
}

// Two soft tones, the second higher. A browser lets a page sound only after a key or a click in it.
function sound() {
  audio ??= new AudioContext();
  audio.resume();
  [[660, 0], [880, 0.22]].forEach(([hertz, wait]) => {
    const begin = audio.currentTime + 0.05 + wait;
    const tone = new OscillatorNode(audio, { frequency: hertz });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setTargetAtTime(0.18, begin, 0.015);
    volume.gain.setTargetAtTime(0, begin + 0.14, 0.05);
    tone.connect(volume).connect(audio.destination);
    tone.start(begin);
    tone.stop(begin + 0.5);
  });
}

function tellAlerts() {
  const on = [remembered("sound") && "Sound", remembered("notify") && "notification"].filter(Boolean);
  write(at("alerts").querySelector("summary"), on.length ? "Alerts on" : "Alerts off");
}

function switchSound(event) {
  localStorage.setItem("sound", event.target.checked ? "on" : "off");
  if (event.target.checked) sound();
  write(at("alerts-note"), event.target.checked ? "This is how it sounds. After the page is loaded anew, the browser lets it sound once you have clicked or typed in it." : "No sound.");
  tellAlerts();
}

async function switchNotices(event) {
  const wanted = event.target.checked;
  const given = wanted && "Notification" in window ? await Notification.requestPermission() : "denied";
  event.target.checked = wanted && given === "granted";
  localStorage.setItem("notify", event.target.checked ? "on" : "off");
  const refused = "This browser does not permit notifications to this page: see its settings for the site.";
  write(at("alerts-note"), event.target.checked ? "A notification says what is suspected and age and sex, no name." : wanted ? refused : "No notifications.");
  tellAlerts();
}

at("alerts").hidden = false;
at("sound").checked = remembered("sound");
at("notify").checked = remembered("notify") && "Notification" in window && Notification.permission === "granted";
at("sound").addEventListener("change", switchSound);
at("notify").addEventListener("change", switchNotices);
for (const kind of ["pointerdown", "keydown"]) {
  addEventListener(kind, () => { if (remembered("sound")) (audio ??= new AudioContext()).resume(); }, { once: true });
}
shown.push(lookForAlarms);
tellAlerts();
