// Single keys: a key press clicks the button of that name, in the open dialog if there is one.
// So whatever a key does, a click, a touch or a screen reader does as well.

export const USUAL = {
  yes: "1", no: "0", skip: "s", unsure: "?", undo: "u", note: "n", guideline: "g", recording: "r",
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

// Nobody shares a key: who had it gets the old one.
export function assign(action, key) {
  const settings = load();
  const other = Object.keys(settings.keys).find((name) => settings.keys[name] === key);
  if (other) settings.keys[other] = settings.keys[action];
  settings.keys[action] = key;
  save(settings);
}

// Digits of every script come in tens, from their zero on.
function asciiDigit(sign) {
  if (!/^\p{Nd}$/u.test(sign)) return null;
  const code = sign.codePointAt(0);
  let zero = code;
  while (/^\p{Nd}$/u.test(String.fromCodePoint(zero - 1))) zero--;
  return String((code - zero) % 10);
}

const QUESTIONS = new Set(["\u061f", "\u037e", "\u055e", "\u1367", "\ua60f"]);

// What a key press may mean, the likeliest first: the sign itself, the same in Latin, and what stands at that place of
// the keyboard where the sign is of a script or layout that has no such letter or digit.
export function meanings({ key, code, shiftKey }) {
  const sign = key.toLowerCase(), plain = sign.normalize("NFKC");
  const found = [sign, plain];
  const digit = asciiDigit(plain);
  if (digit) found.push(digit);
  if (QUESTIONS.has(sign)) found.push("?");
  const [, letter, number] = /^(?:Key([A-Z])|(?:Digit|Numpad)([0-9]))$/.exec(code ?? "") ?? [];
  // A Latin letter is meant as such, wherever the layout has it; so is a digit, and a sign that Shift makes.
  if (letter && !/^[a-z]$/.test(plain)) found.push(letter.toLowerCase());
  if (number && !shiftKey && !/^[a-z0-9]$/.test(plain)) found.push(number);
  return found;
}

const typing = (element) => element?.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
const visible = (action) => {
  const within = document.querySelector("dialog[open]") ?? document;
  return [...within.querySelectorAll(`[data-action="${action}"]`)].find((one) => one.checkVisibility());
};
// What the browser or the page itself does with a key is no vain press.
const USELESS = /^(Shift|Control|Alt|AltGraph|Meta|CapsLock|NumLock|Tab|Enter|Escape| |Arrow.*|Page.*|Home|End|F\d+|Audio.*|Media.*)$/;
const TRIES = 3;
let vain = [];

document.addEventListener("keydown", (event) => {
  const { on, keys } = load();
  // A held key repeats: it must not label thirty sentences.
  if (!on || event.repeat || event.isComposing || event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
  const action = meanings(event).map((sign) => Object.keys(keys).find((name) => keys[name] === sign)).find((name) => name && visible(name));
  if (!action) return inVain(event);
  vain = [];
  offer();
  event.preventDefault();
  visible(action).click();
});

// Three keys that do nothing: somebody looks for his own.
function inVain({ key }) {
  if (USELESS.test(key) || document.querySelector("dialog[open]")) return;
  vain.push(key.toLowerCase());
  if (vain.length >= TRIES) offer(vain.at(-1));
}

function offer(key = null) {
  const help = document.querySelector("#keys-help");
  if (!help) return;
  help.hidden = !key;
  help.scrollIntoView({ block: "nearest" });
  // A name of several letters ("Process", "Dead") is no sign that could be kept.
  const usable = key !== null && [...key].length === 1;
  help.querySelector("#keys-vain").textContent = usable ? key : "";
  help.querySelector("#keys-what").hidden = !usable;
  for (const one of help.querySelectorAll("[data-assign]")) one.hidden = !usable;
}

for (const one of document.querySelectorAll("#keys-help [data-assign]")) {
  one.addEventListener("click", () => {
    assign(one.dataset.assign, document.querySelector("#keys-vain").textContent);
    vain = [];
    offer();
    document.querySelector("#main").focus();
  });
}

show();
