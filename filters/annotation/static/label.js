// The keyboard loop: an answer goes to the outbox, the next sentence is shown at once, the outbox empties by itself.
// An undo shows at once as well, and what is typed for a sentence comes back with it.
import * as drafts from "./drafts.js";
import * as outbox from "./outbox.js";
import * as pace from "./pace.js";

const find = (selector) => document.querySelector(selector);
const MARKS = { yes: "✓ yes", no: "✕ no", skip: "↷ skipped" };
const HIDDEN_SIGNS = /[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/;
// Joiners that are seen: they make one emoji of several, and shape the letters of many scripts.
const JOINED_EMOJI = /(?<=\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]*)\u200d(?=\p{Extended_Pictographic})/gu;
const JOINED_LETTERS = /(?<=[^\P{L}\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Han}]\p{M}*)[\u200c\u200d]/gu;
const hasHiddenSigns = (text) => HIDDEN_SIGNS.test(text.replace(JOINED_EMOJI, "").replace(JOINED_LETTERS, ""));
// `given` is what this window has answered, to be taken back from the end; `undoing` waits for the server to say what.
let current = null, ahead = [], given = [], unsure = false, undoing = false, looking = 0;

const hear = { tell, took, kept, emptied };

function took(said, entry, mine) {
  const left = outbox.pending().length;
  if (said.taken === "late") tell("That sentence had gone to somebody else meanwhile; your answer is in the log only.");
  else if (!said.again && "again" in said) tell("There is nothing to undo.");
  else tell(left ? `Saving ${left} …` : "again" in said ? "Taken back" : "Saved");
  // What was taken back by its key is on the screen already.
  const again = mine && !entry.body.label_key ? said.again : null;
  if (mine && "again" in said && !entry.body.label_key) undoing = false;
  take(said, again);
}

function kept(entry) {
  given = given.filter((one) => one.key !== entry.body.key);
  forget(entry.body.key);
  showKept();
}

// The undo that this page waits for was refused, or another window has sent it.
function emptied() {
  if (!undoing) return;
  undoing = false;
  fetchWork();
}

async function fetchWork() {
  clearTimeout(looking);
  const answer = await fetch(`/api/work?ahead=${pace.wanted(outbox.pending().length)}`).catch(() => null);
  const said = await answer?.json().catch(() => null);
  if (answer?.status === 401) return tell("You are signed out. Ask for a new link.");
  if (said?.tasks && said.owner === drafts.OWNER) return take(said);
  if (said?.owner) return tell(`This browser is signed in as somebody else by now: load this page again. ${outbox.notSent()}`);
  tell(`${said?.error ?? "No connection."} Trying again …`);
  looking = setTimeout(fetchWork, 2000);
}

function take(said, again = null) {
  const { mine, taken, wanted, open, pace_s } = said.progress;
  find("#bar").max = Math.max(wanted, 1);
  find("#bar").value = taken;
  find("#counts").textContent = `${mine} by you · ${open} to go`;
  find("#pace").textContent = pace_s && open ? `about ${Math.max(1, Math.round(pace_s * open / 60))} min at your pace` : "";
  if (again) show(again);
  const answered = outbox.waiting();
  ahead = said.tasks.filter((task) => task.item_id !== current?.item_id && !answered.has(task.item_id));
  if (!current && !undoing) show(ahead.shift() ?? null);
  find("#done").hidden = Boolean(current) || outbox.pending().length > 0;
  const later = open || said.news;
  find("#done-title").textContent = later ? "Nothing for you right now" : "All done. Thank you!";
  find("#done-text").textContent = open
    ? "The sentences that are left are on other people's screens. This page looks again by itself."
    : said.news ? `${said.news} More sentences follow: this page looks again by itself.` : "Every sentence that needed you has your answer.";
  clearTimeout(looking);
  if (!current && later) looking = setTimeout(fetchWork, 3000);
}

// A task with a `value` is one whose answer was taken back: it says which, until it is answered again.
function show(task) {
  const draft = task && drafts.load(task.item_id);
  current = task && { ...task, ...draft };
  find("#sentence bdi").textContent = task?.text ?? "";
  find("#sentence").classList.toggle("long", (task?.text.length ?? 0) > 280);
  const again = current?.value;
  find("#hint").textContent = again ? `You said ${MARKS[again]}. What do you say now?` : "This text has invisible signs in it.";
  find("#hint").hidden = !again && !hasHiddenSigns(task?.text ?? "");
  find("#controls").hidden = find(".question").hidden = find("#sentence").hidden = !task;
  find("#note").value = current?.note ?? "";
  openNote(Boolean(find("#note").value));
  setUnsure(Boolean(current?.unsure));
  if (again) keepDraft();
  find("#sentence").scrollTop = 0;
  cue();
}

// A long sentence scrolls in its frame, so that the answers stay in sight; what is beneath the edge is told.
function cue() {
  const { scrollHeight, scrollTop, clientHeight } = find("#sentence");
  find("#cue").hidden = scrollHeight - scrollTop - clientHeight < 8;
}

function readOn() {
  const frame = find("#sentence");
  frame.scrollBy({ top: frame.clientHeight * 0.8 });
}

function keepDraft() {
  if (!current) return;
  const { item_id, value, over } = current;
  drafts.keep(item_id, { note: find("#note").value, unsure, value, over });
}

function answer(label, skip_reason = null) {
  if (!current) return;
  const { item_id, text, over = null } = current;
  const note = find("#note").value.trim() || null;
  const key = outbox.newKey();
  remember(key, label, text, item_id);
  given.push({ key, task: { item_id, text, value: label, unsure, note, over } });
  pace.answered();
  const body = { key, item_id, label, unsure, skip_reason, note, guideline: find("#work").dataset.guideline, over };
  // The next sentence first, what is slower after: that is what the annotator waits for.
  show(ahead.shift() ?? null);
  outbox.post("/api/label", body, text, hear);
  drafts.drop(item_id);
}

function undo() {
  if (undoing) return;
  const last = given.pop();
  if (last) forget(last.key);
  if (current) ahead.unshift({ item_id: current.item_id, text: current.text });
  if (last) show(last.task);
  else {
    // Given before this page was loaded: only the server knows which it was.
    undoing = true;
    show(null);
    find("#hint").textContent = "Taking back your last answer …";
    find("#hint").hidden = false;
  }
  find("#done").hidden = true;
  tell(last ? "Taking it back …" : "");
  outbox.post("/api/undo", last ? { label_key: last.key } : {}, last?.task.text, hear);
}

function remember(key, label, text, item) {
  const row = document.createElement("li");
  row.id = `recent-${key}`;
  if (find("#work").dataset.recordings) row.append(button("Recording", () => hearRecording(item)), " ");
  row.append(mark(label, unsure), " ", words(text.slice(0, 120)));
  find("#recent").prepend(row);
  while (find("#recent").children.length > 3) find("#recent").lastChild.remove();
}

// What the server lets one hear of the sentence's recording, which stops when the dialog closes.
async function hearRecording(item) {
  const place = find("#recording");
  place.textContent = "Loading …";
  find("#recording-dialog").showModal();
  const answer = await fetch(`/recording/${encodeURIComponent(item)}/part`).catch(() => null);
  const said = await answer?.text().catch(() => null);
  if (answer?.ok) place.innerHTML = said;
  else place.textContent = answer?.status === 400 ? "It can be heard when your answer is saved." : "It cannot be loaded now.";
}

const forget = (key) => find(`#recent-${key}`)?.remove();

function mark(label, doubtful) {
  const one = document.createElement("span");
  one.className = `mark ${label}`;
  one.textContent = MARKS[label] + (doubtful ? ", unsure" : "");
  return one;
}

function words(text) {
  const one = document.createElement("bdi");
  one.dir = "auto";
  one.textContent = text;
  return one;
}

// What the server did not take, each with its reason; and that there is something of others, without a look into it.
function showKept() {
  const refused = outbox.refused(), strays = outbox.strays();
  find("#kept").hidden = !refused.length;
  find("#kept-list").replaceChildren(...refused.map(keptRow));
  find("#stray").hidden = !strays.length;
  find("#stray-text").textContent = `${strays.length} answer${strays.length === 1 ? "" : "s"} of another project or person wait in this browser. They are sent when that person signs in there again.`;
}

function keptRow(entry) {
  const { label, unsure: doubtful, note, item_id } = entry.body;
  const standing = entry.standing ? ` ${MARKS[entry.standing.value]} stands.` : "";
  const row = document.createElement("li");
  row.append(
    paragraph("small-sentence", mark(label, doubtful), words(entry.text ?? item_id)),
    paragraph("quiet", entry.reason + standing),
    ...(note ? [paragraph("quiet", "Your note: ", words(note))] : []),
    paragraph(
      "tools",
      button(entry.standing ? "Use this answer instead" : "Send again", () => sendAgain(entry)),
      button("Discard", () => outbox.discard(entry)),
    ),
  );
  return row;
}

function paragraph(kind, ...content) {
  const one = document.createElement("p");
  one.className = kind;
  one.append(...content);
  return one;
}

function sendAgain(entry) {
  const { item_id, label: value, unsure: doubtful, note, over } = entry.body;
  const key = outbox.newKey();
  given.push({ key, task: { item_id, text: entry.text, value, unsure: doubtful, note, over: entry.standing?.seq ?? over } });
  outbox.retry(entry, key, hear);
}

function button(text, act) {
  const one = document.createElement("button");
  one.className = "tool";
  one.textContent = text;
  one.addEventListener("click", () => { act(); showKept(); find("#main").focus(); });
  return one;
}

function setUnsure(value) {
  unsure = value;
  find('[data-action="unsure"]').setAttribute("aria-pressed", String(value));
}

function openNote(open) {
  find("#note-box").hidden = !open;
  find('[data-action="note"]').setAttribute("aria-expanded", String(open));
}

function tell(text) {
  find("#status").textContent = text;
}

const ACTIONS = {
  yes: () => answer("yes"),
  no: () => answer("no"),
  skip: () => find("#skip-dialog").showModal(),
  unsure: () => { setUnsure(!unsure); keepDraft(); },
  note: () => { openNote(true); find("#note").focus(); },
  undo,
  recording: () => current && hearRecording(current.item_id),
  guideline: () => find("#guideline-dialog").open || find("#guideline-dialog").showModal(),
};
document.addEventListener("click", (event) => {
  const pressed = event.target.closest("button[data-action]");
  if (!pressed) return;
  if (pressed.dataset.reason) { find("#skip-dialog").close(); answer("skip", pressed.dataset.reason); }
  else if (!pressed.closest("dialog")) ACTIONS[pressed.dataset.action]();
});
find("#recording-dialog").addEventListener("close", () => find("#recording").replaceChildren());
find("#sentence").addEventListener("scroll", cue);
find("#cue").addEventListener("click", readOn);
window.addEventListener("resize", cue);
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || find("#cue").hidden || event.target.closest("button, a, input, textarea, select, dialog")) return;
  event.preventDefault();
  readOn();
});
find("#note").addEventListener("input", keepDraft);
find("#note").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" && !(event.key === "Enter" && event.ctrlKey)) return;
  openNote(Boolean(find("#note").value.trim()));
  find("#main").focus();
});
find("#kept-save").addEventListener("click", () => outbox.asFile(outbox.refused()));
find("#stray-save").addEventListener("click", () => outbox.asFile(outbox.readAll(outbox.strays())));
window.addEventListener("online", () => outbox.send(hear));
// Another window of the same person: what it answers is no question here any more.
window.addEventListener("storage", ({ key, newValue }) => {
  if (!outbox.isKept(key)) return;
  showKept();
  const other = newValue && outbox.isPending(key) ? JSON.parse(newValue).body : null;
  if (!other?.label) return;
  ahead = ahead.filter((task) => task.item_id !== other.item_id);
  if (current?.item_id !== other.item_id || find("#note").value) return;
  show(ahead.shift() ?? null);
  tell("You answered that sentence in your other window.");
  if (!current) fetchWork();
});
window.addEventListener("beforeunload", (event) => { if (outbox.atRisk()) event.preventDefault(); });

outbox.adopt();
showKept();
// First what a reload or a dead server left unsent, then new work, so that nothing is shown twice.
await outbox.send(hear);
await fetchWork();
