// Plays the slices of a study in the list: Space on a row, or its button. The panel lies outside the part of the page
// that is updated, so that no update touches it. What it shows first comes in one answer, most telling slice and words
// together; the sheets of all slices come behind it.
const EVERY_MS = 125; // a slice
const HOLD_MS = 900; // the most telling slice, before the others are played
const ASK_AGAIN_MS = 1000; // while the pictures are being made
const calmly = matchMedia("(prefers-reduced-motion: reduce)");
const panel = document.createElement("section");
let played = null; // the study in the panel and how it is shown; null while it is closed

panel.id = "preview";
panel.hidden = true;
panel.tabIndex = -1;
panel.setAttribute("role", "dialog");
panel.setAttribute("aria-labelledby", "preview-title");
live.after(panel);

const part = (selector) => panel.querySelector(selector);
const rowOf = (key) => rowsOnPage().find((row) => row.dataset.key === key);

function tell(text) {
  const line = part(".answer");
  if (line) write(line, text);
  else toast(text);
}

// Opens the panel with a study, or goes on with another one in it. Never moves what has been opened.
async function play(key) {
  if (!key) return;
  stopPlaying();
  clearTimeout(played?.waiting);
  const anew = !played;
  const row = rowOf(key);
  const now = { key, place: rowsOnPage().indexOf(row), onward: "", window: 0, outline: true, sheets: {} };
  played = now;
  mark();
  try {
    await load(now);
  } catch {
    toast("The server does not answer. Please try again.");
    if (now === played && panel.hidden) close();
    return;
  }
  if (now !== played) return;
  if (anew) place(row);
  panel.focus({ preventScroll: true });
}

async function contents(key) {
  const response = await fetch(`${root}/studies/${key}/preview`, { signal: AbortSignal.timeout(SILENCE_MS) });
  return new DOMParser().parseFromString(await response.text(), "text/html").querySelector(".preview");
}

async function load(now) {
  const fresh = await contents(now.key);
  if (now !== played) return;
  if (!fresh) {
    toast("This study is no longer here.");
    close();
    return;
  }
  await put(now, fresh);
}

async function put(now, fresh) {
  const within = panel.contains(document.activeElement) && document.activeElement !== panel;
  panel.replaceChildren(fresh);
  panel.hidden = false;
  if (within) panel.focus({ preventScroll: true });
  Object.assign(now, { state: fresh.dataset.state, stamp: fresh.dataset.stamp, version: fresh.dataset.version });
  if (now.state !== "ready") {
    await wait(now);
    return;
  }
  now.index = JSON.parse(fresh.dataset.index);
  now.number = now.index.first;
  const bytes = Uint8Array.from(atob(fresh.dataset.first), (each) => each.charCodeAt(0));
  now.first = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  if (now !== played) return;
  draw();
  fetchSheets(now);
}

// Until the pictures are there: asks for them where nobody has, and looks again.
async function wait(now) {
  if (now.state === "absent" || (now.state === "waiting" && !now.asked)) {
    now.asked = true;
    await post(`${root}/studies/${now.key}/preview`).catch(() => {});
  }
  if (now === played && now.state !== "impossible") {
    now.waiting = setTimeout(() => now === played && load(now).catch(() => wait(now)), ASK_AGAIN_MS);
  }
}

async function fetchSheets(now) {
  const { sheets, outlines } = now.index;
  try {
    const [brain, lines] = await Promise.all([sheet(now, sheets[0]), outlines ? sheet(now, outlines) : null]);
    if (now !== played) return;
    Object.assign(now.sheets, { [sheets[0]]: brain, lines });
    now.first = null;
    panel.dataset.loaded = now.key;
    draw();
    if (!calmly.matches && !now.touched) now.timer = setTimeout(startPlaying, HOLD_MS);
    for (const name of sheets.slice(1)) {
      const other = await sheet(now, name);
      now.sheets[name] = other;
      if (now === played) draw();
    }
  } catch {
    if (now === played) renew();
  }
}

async function sheet(now, name) {
  const image = new Image();
  image.src = `${root}/studies/${now.key}/preview/${name}?stamp=${now.stamp}`;
  await image.decode();
  return image;
}

function draw() {
  const canvas = part("canvas");
  if (!canvas || !played.index) return;
  const { index, number, sheets, first, window } = played;
  const context = canvas.getContext("2d");
  const image = sheets[index.sheets[window]];
  context.imageSmoothingQuality = "high";
  if (image) {
    drawTile(context, image, number);
    if (sheets.lines && played.outline) drawTile(context, sheets.lines, number);
  } else if (first && number === index.first && window === 0) {
    context.drawImage(first, 0, 0, canvas.width, canvas.height);
  } else {
    context.clearRect(0, 0, canvas.width, canvas.height);
  }
  describe(canvas);
}

function drawTile(context, image, number) {
  const { tile, columns } = played.index;
  const { width, height } = context.canvas;
  const [left, top] = [(number % columns) * tile, Math.floor(number / columns) * tile];
  context.drawImage(image, left, top, tile, tile, 0, 0, width, height);
}

function describe(canvas) {
  const { index, number, window } = played;
  const [place, named] = index.slices[number];
  const slice = `Slice ${place} of ${index.total}${named ? ` (image ${named})` : ""}`;
  const shown = `${index.windows[window]} window`;
  write(part(".slice"), slice);
  write(part(".window"), shown);
  canvas.setAttribute("aria-label", `${slice}, ${shown}`);
  canvas.dataset.shown = `${number} ${window}`;
  const range = part("input[type=range]");
  range.value = number;
  range.setAttribute("aria-valuetext", slice);
  for (const button of panel.querySelectorAll("[data-window]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.window) === window));
  }
  part("[data-plays=outline]")?.setAttribute("aria-pressed", String(played.outline));
}

function show(number) {
  if (!played?.index) return;
  const count = played.index.slices.length;
  played.number = Math.min(count - 1, Math.max(0, number));
  draw();
}

function step(by) {
  if (!played?.index) return;
  stopPlaying();
  show(played.number + by);
}

function startPlaying() {
  if (!played?.index || !played.sheets[played.index.sheets[0]]) return;
  stopPlaying();
  played.playing = setInterval(() => show((played.number + 1) % played.index.slices.length), EVERY_MS);
  tellPlaying(true);
}

// Once a reader has worked it, it plays no more by itself.
function stopPlaying() {
  if (!played) return;
  clearTimeout(played.timer);
  clearInterval(played.playing);
  Object.assign(played, { playing: null, touched: true });
  tellPlaying(false);
}

function tellPlaying(on) {
  const button = part("[data-plays=pause]");
  if (!button) return;
  write(button, on ? "❚❚" : "▶");
  button.setAttribute("aria-label", on ? "Pause" : "Play");
  part(".where").setAttribute("aria-live", on ? "off" : "polite");
}

function pausePlaying() {
  if (played.playing) stopPlaying();
  else startPlaying();
}

function chooseWindow(number) {
  if (!played?.index?.sheets[number]) return;
  played.window = number;
  draw();
}

function switchOutline() {
  played.outline = !played.outline;
  draw();
}

// The row that comes after the played one: as the list now stands, but for what its reader has just done to it.
function neighbour(by) {
  const rows = rowsOnPage();
  const now = rows.findIndex((row) => row.dataset.key === played.key);
  if (by > 0 && played.onward && rowOf(played.onward)) return played.onward;
  const place = now < 0 ? played.place + Math.min(by, 0) : now + by;
  return rows[place]?.dataset.key;
}

function go(by) {
  const key = neighbour(by);
  if (key) play(key);
  else tell(by > 0 ? "This is the last study of this page." : "This is the first study of this page.");
}

async function judge(form, button) {
  const name = form.querySelector("input[name=reader]");
  if (!name.value.trim()) {
    tell("Please type your name first.");
    name.focus();
    return;
  }
  const now = played;
  now.onward ||= neighbour(1) || "";
  const body = new URLSearchParams(new FormData(form));
  body.set("verdict", button.value);
  try {
    const response = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" }, body });
    const { said } = await response.json();
    if (now !== played) return;
    tell(said);
    if (!response.ok) return;
    for (const each of form.querySelectorAll("[name=verdict]")) {
      each.setAttribute("aria-pressed", String(each === button));
    }
    if (form.contains(document.activeElement) && document.activeElement.matches("input")) panel.focus();
  } catch {
    if (now === played) tell("Not done: the server does not answer. Please try again.");
  }
}

function pressVerdict(number) {
  const form = part("form.verdict");
  if (form) judge(form, form.querySelectorAll("[name=verdict]")[number]);
  else tell("There is no result to agree with.");
}

function acknowledge() {
  const button = rowOf(played.key)?.querySelector("[data-do=acknowledge]");
  if (!button) {
    tell("There is nothing to acknowledge here.");
    return;
  }
  played.onward ||= neighbour(1) || "";
  send(button.form);
}

// Beside its row: under it where there is room, else over it. There it stays, whatever the list does.
function place(row) {
  panel.style.removeProperty("top");
  if (!row || matchMedia("(max-width: 820px)").matches) return;
  const { top, bottom } = row.getBoundingClientRect();
  const head = document.querySelector(".top").getBoundingClientRect().bottom + 4;
  const height = panel.offsetHeight;
  const lowest = innerHeight - height - 8;
  const over = top - height - 4;
  const wanted = bottom + 4 <= lowest || over < head ? bottom + 4 : over;
  panel.style.top = `${Math.max(head, Math.min(wanted, lowest))}px`;
}

function mark() {
  for (const row of rowsOnPage()) row.toggleAttribute("data-played", row.dataset.key === played?.key);
}

function close() {
  if (!played) return;
  const { key, place: last, waiting } = played;
  clearTimeout(waiting);
  stopPlaying();
  played = null;
  mark();
  panel.hidden = true;
  panel.replaceChildren();
  delete panel.dataset.loaded;
  const rows = rowsOnPage();
  (rowOf(key) || rows[Math.min(last, rows.length - 1)] || live).focus({ preventScroll: true });
}

// The list has changed: the panel stays, and looks anew only where its own study has another result.
async function renew() {
  if (!played) return;
  mark();
  const now = played;
  const rows = rowsOnPage();
  const place = rows.findIndex((row) => row.dataset.key === now.key);
  if (place >= 0 && !now.onward) now.place = place;
  if (now.state !== "ready") return;
  const fresh = await contents(now.key).catch(() => null);
  if (now !== played || !fresh) return;
  if (fresh.dataset.stamp === now.stamp && fresh.dataset.version === now.version) return;
  stopPlaying();
  Object.assign(now, { sheets: {}, index: null, asked: false });
  await put(now, fresh);
  tell("A newer result has come: this is what it says.");
}

const PLAYS = {
  close,
  back: () => step(-1),
  on: () => step(1),
  pause: pausePlaying,
  outline: switchOutline,
  next: () => go(1),
};
const PLAY_KEYS = {
  " ": pausePlaying,
  Escape: close,
  ArrowLeft: () => step(-1),
  ArrowUp: () => step(-1),
  ArrowRight: () => step(1),
  ArrowDown: () => step(1),
  Home: () => step(-Infinity),
  End: () => step(Infinity),
  1: () => chooseWindow(0),
  2: () => chooseWindow(1),
  3: () => chooseWindow(2),
  o: switchOutline,
  y: () => pressVerdict(0),
  n: () => pressVerdict(1),
  a: acknowledge,
  j: () => go(1),
  k: () => go(-1),
  d: () => part(".onward a:nth-of-type(2)")?.click(),
  Enter: () => part(".onward a")?.click(),
};
const MAY_REPEAT = new Set(["ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"]);

function whilePlaying(event) {
  const { target, key } = event;
  if (key !== "Escape" && target.matches("input:not([type=range]), textarea, select")) return;
  if ((key === " " || key === "Enter") && target.closest("a, button, summary")) return;
  const other = target.closest("tr[data-key]");
  if (other && other.dataset.key !== played.key && key !== " " && key !== "Escape") return; // the list's own keys
  if (!PLAY_KEYS[key]) return;
  event.preventDefault();
  event.stopPropagation();
  if (event.repeat && !MAY_REPEAT.has(key)) return;
  if (key === " " && other && other.dataset.key !== played.key) play(other.dataset.key);
  else PLAY_KEYS[key]();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return;
  if (played) {
    whilePlaying(event);
    return;
  }
  const row = event.key === " " && event.target.closest?.("tr[data-key]");
  if (!row || event.target.closest("button, summary, input")) return;
  event.preventDefault();
  event.stopPropagation();
  if (!event.repeat) play(row.dataset.key);
}, true);

document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-key] [data-plays]");
  if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (played?.key === row.dataset.plays) close();
  else play(row.dataset.plays);
});

panel.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const opens = event.target.closest("a[data-opens]");
  if (opens) tellOpened(opens.dataset.opens);
  if (event.target.matches("canvas")) pausePlaying();
  else if (button?.dataset.window) chooseWindow(Number(button.dataset.window));
  else PLAYS[button?.dataset.plays]?.();
});

panel.addEventListener("input", (event) => {
  if (!event.target.matches("[type=range]")) return;
  stopPlaying();
  show(Number(event.target.value));
});

panel.addEventListener("wheel", (event) => {
  if (!event.target.closest(".screen") || !played?.index) return;
  event.preventDefault();
  step(Math.sign(event.deltaY));
}, { passive: false });

panel.addEventListener("submit", (event) => {
  event.preventDefault();
  judge(event.target, event.submitter);
});

// Coming back from what was opened here, the reader is at its row.
addEventListener("pagehide", () => {
  if (played) sessionStorage.setItem("came-from", played.key);
});

shown.push(renew);
