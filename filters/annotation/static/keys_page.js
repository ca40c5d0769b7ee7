// The page on which keys are changed or switched off.
import { USUAL, assign, load, save } from "./keys.js";

const NAMES = {
  yes: "Yes", no: "No", skip: "Skip", unsure: "Unsure", undo: "Undo", note: "Note", guideline: "Guideline", recording: "Recording",
  other_language: "Skip: language", abusive: "Skip: abusive", broken: "Skip: broken",
};
const list = document.querySelector("#keys-list");
const status = document.querySelector("#status");
const on = document.querySelector("#keys-on");

function draw() {
  const settings = load();
  on.checked = settings.on;
  list.replaceChildren(...Object.keys(USUAL).map((action) => {
    const row = document.createElement("li");
    const button = document.createElement("button");
    button.className = "tool";
    button.textContent = settings.keys[action];
    button.ariaLabel = `${NAMES[action]}: ${settings.keys[action]}. Change`;
    button.addEventListener("click", () => ask(action));
    row.append(NAMES[action], button);
    return row;
  }));
}

function ask(action) {
  status.textContent = `Press the new key for ${NAMES[action]} (Esc leaves it).`;
  document.addEventListener("keydown", function take(event) {
    if (["Shift", "Control", "Alt", "Meta", "AltGraph"].includes(event.key)) return;
    document.removeEventListener("keydown", take, true);
    event.preventDefault();
    event.stopPropagation();
    const key = event.key.toLowerCase();
    if ([...key].length !== 1 || key === " ") {
      status.textContent = "Left as it was: only letters, digits and signs can be keys.";
      return;
    }
    assign(action, key);
    draw();
    status.textContent = `${NAMES[action]} is now ${key}.`;
  }, true);
}

on.addEventListener("change", () => save({ ...load(), on: on.checked }));
document.querySelector("#keys-reset").addEventListener("click", () => {
  save({ on: true, keys: { ...USUAL } });
  draw();
  status.textContent = "The usual keys are back.";
});
draw();
