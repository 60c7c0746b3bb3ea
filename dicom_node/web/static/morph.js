// morph(old, fresh): changes the document from what it shows to what the server sent, and keeps every node that stays, so
// that focus, scroll position, loaded pictures and open details are not disturbed. What has data-still is left alone.
"use strict";

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);
const STRUCTURE = new Set(["TABLE", "THEAD", "TBODY", "TR", "MAIN"]);
const isBlank = (node) => node.nodeType === Node.TEXT_NODE && STRUCTURE.has(node.parentNode.nodeName) && !node.data.trim();

// Make `old` look like `fresh` and keep every node that stays; nodes with data-key are recognised wherever they moved.
function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || old.hasAttribute("data-still")) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS") && name !== "title") old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const wanted = [...fresh.childNodes].filter((node) => !isBlank(node));
  const keys = new Set(wanted.map(keyOf).filter(Boolean));
  const known = new Map();
  for (const node of [...old.childNodes]) {
    const key = keyOf(node);
    if (isBlank(node) || (key && !keys.has(key))) node.remove();
    else if (key) known.set(key, node);
  }
  let place = old.firstChild;
  for (const want of wanted) {
    let have = known.get(keyOf(want)) ?? null;
    if (!keyOf(want)) {
      have = place;
      while (have && (keyOf(have) || have.nodeName !== want.nodeName)) have = have.nextSibling;
    }
    if (!have) {
      old.insertBefore(document.importNode(want, true), place);
      continue;
    }
    if (have === place) {
      place = place.nextSibling;
    } else if (have === place.nextSibling) {
      const passed = place;
      place = have.nextSibling;
      old.appendChild(passed);
      place = place ?? passed;
    } else {
      old.insertBefore(have, place);
    }
    morph(have, want);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}
