// Single keys: a key press clicks the button of that name, in the open dialog if there is one.
// So whatever a key does, a click, a touch or a screen reader does as well.

export const USUAL = {
  yes: "1", no: "0", skip: "s", unsure: "?", undo: "u", note: "n", guideline: "g",
  other_language: "l", abusive: "a", broken: "b",
};
const { project, person = "" } = document.body.dataset;
// The keys of one project's first annotator are not those of another's. Until 2026-11 they were kept without the project.
const place = `mulan.keys.${project}.${person}`, former = `mulan.keys.${person}`;

export function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(place) ?? localStorage.getItem(former)) ?? {};
    return { on: kept.on ?? true, keys: { ...USUAL, ...kept.keys } };
  } catch {
    return { on: true, keys: { ...USUAL } };
  }
}

export function save(settings) {
  localStorage.setItem(place, JSON.stringify(settings));
  show();
}

export function show() {
  const { on, keys } = load();
  for (const cap of document.querySelectorAll("kbd[data-key]")) {
    cap.textContent = keys[cap.dataset.key];
    cap.hidden = !on;
  }
  for (const button of document.querySelectorAll("[data-action]")) {
    if (on && keys[button.dataset.action]) button.setAttribute("aria-keyshortcuts", keys[button.dataset.action]);
    else button.removeAttribute("aria-keyshortcuts");
  }
}

const typing = (element) => element?.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  const { on, keys } = load();
  // A held key repeats: it must not label thirty sentences.
  if (!on || event.repeat || event.isComposing || event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
  const action = Object.keys(keys).find((name) => keys[name] === event.key.toLowerCase());
  const within = document.querySelector("dialog[open]") ?? document;
  const button = action && [...within.querySelectorAll(`[data-action="${action}"]`)].find((one) => one.checkVisibility());
  if (!button) return;
  event.preventDefault();
  button.click();
});

show();
