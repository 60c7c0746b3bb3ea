// The bar below OHIF: fits its frame to what it shows, sends feedback without leaving, and gives the keys back to OHIF.
"use strict";

const frame = window.frameElement;

function fit() {
  frame?.classList.toggle("says", Boolean(at("say")?.open));
  frame?.classList.toggle("news", !at("news").hidden || !at("lost").hidden);
}

// OHIF's keys work where the focus is in its page.
function giveBack() {
  document.activeElement?.blur();
  parent.focus();
}

async function give(form, submitter) {
  const headers = { Accept: "application/json" };
  try {
    const body = new URLSearchParams(new FormData(form, submitter));
    const answer = await fetch(form.action, { method: "POST", headers, body });
    toast((await answer.json()).said);
    if (answer.ok) closeFeedback();
  } catch {
    toast("Not done: the server does not answer. Please try again.");
  }
  refresh();
}

function closeFeedback() {
  at("say").open = false;
  giveBack();
}

// The tab is OHIF's: it has the title and the sign of the bar.
function entitleTab() {
  if (!frame) return;
  parent.document.title = document.title;
  const icon = document.querySelector("link[rel=icon]").href;
  for (const link of parent.document.querySelectorAll('link[rel~="icon"]')) {
    if (link.href !== icon) link.href = icon;
  }
}

document.addEventListener("submit", (event) => {
  if (event.submitter?.dataset.do) return;
  event.preventDefault();
  give(event.target, event.submitter);
});
document.addEventListener("click", (event) => {
  const pressed = event.detail > 0 && event.target.closest("[data-do], #news button");
  if (pressed) setTimeout(giveBack);
});
document.addEventListener("keydown", (event) => event.key === "Escape" && setTimeout(giveBack));
document.addEventListener("toggle", fit, true);
for (const id of ["news", "lost"]) new MutationObserver(fit).observe(at(id), { attributes: true });
new MutationObserver(entitleTab).observe(document.querySelector("title"), { childList: true });
fit();
entitleTab();
