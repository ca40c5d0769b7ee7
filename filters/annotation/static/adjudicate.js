// Keeps the note of a decision until the server has it: through a reload, a look at another page, a server that is down.
import * as drafts from "./drafts.js";

const work = document.querySelector("#work");
// No item has a slash in its name: an adjudicator's own label of the sentence has another draft.
const DECISION = "decide/";
const item = work && DECISION + work.dataset.item;
const note = document.querySelector("#note");

// A decision that was sent and whose sentence is still to settle did not arrive: its note comes back.
for (const other of drafts.items()) if (other.startsWith(DECISION) && other !== item && drafts.load(other)?.sent) drafts.drop(other);
if (item) {
  const draft = drafts.load(item);
  if (draft?.note) note.value = draft.note;
  note.addEventListener("input", () => drafts.keep(item, { note: note.value }));
  document.querySelector("#decide").addEventListener("submit", () => drafts.keep(item, { note: note.value, sent: true }));
}
