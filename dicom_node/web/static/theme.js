// Light or dark as the reader has chosen, before anything is drawn; without a choice as the system asks for.
"use strict";

const THEMES = { system: "Auto", light: "Light", dark: "Dark" };
const chosenTheme = () => (localStorage.getItem("theme") in THEMES ? localStorage.getItem("theme") : "system");

function useTheme(name) {
  if (name === "system") localStorage.removeItem("theme");
  else localStorage.setItem("theme", name);
  document.documentElement.dataset.theme = name;
}

useTheme(chosenTheme());
addEventListener("storage", (event) => event.key === "theme" && useTheme(chosenTheme()));
addEventListener("DOMContentLoaded", () => {
  const choice = document.getElementById("theme");
  if (!choice) return;
  for (const [name, label] of Object.entries(THEMES)) choice.add(new Option(label, name));
  choice.value = chosenTheme();
  choice.addEventListener("change", () => useTheme(choice.value));
  choice.parentElement.hidden = false;
});
