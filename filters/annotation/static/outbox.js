// The outbox: answers on their way to the server, and those that it refused. Both live in localStorage under the project and
// the person who gave them, and each has a key of its own: no reload, dead server, other project or other person in this
// browser loses an answer or moves it, and sending twice counts once.
import { OWNER } from "./drafts.js";
import * as pace from "./pace.js";

const PENDING = `mulan.outbox.${OWNER}.`, REFUSED = `mulan.refused.${OWNER}.`;
const ANYBODYS = /^mulan\.(outbox|refused)\./;
// Until 2026-11 an entry had no project in its name.
const FORMER = /^mulan\.outbox\.(\d+)\.(\d{15}\.\d{6})$/;
// Where localStorage is full or switched off.
const unkept = new Map();
const own = new Set();
let entries = 0, sending = false;

// Not randomUUID, which a page without TLS on a local network does not have.
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const names = (start) => [...Object.keys(localStorage), ...unkept.keys()].filter((name) => name.startsWith(start)).sort();
const read = (name) => JSON.parse(unkept.get(name) ?? localStorage.getItem(name));
export const pending = () => names(PENDING);
export const waiting = () => new Set(pending().map((name) => read(name)?.body.item_id));
export const isPending = (name) => name?.startsWith(PENDING);
export const isKept = (name) => name === null || ANYBODYS.test(name);
export const atRisk = () => unkept.size;

function write(name, entry) {
  try {
    localStorage.setItem(name, JSON.stringify(entry));
  } catch {
    unkept.set(name, JSON.stringify(entry));
  }
}

function remove(name) {
  localStorage.removeItem(name);
  unkept.delete(name);
}

// `text` is the sentence, to show an answer that comes back; `hear` has `tell(words)`, `took(reply, entry, mine)`,
// `kept(entry)` for an answer that was refused, and `emptied()`.
export function post(url, body, text, hear) {
  // Two windows may write in the same millisecond: the key tells them apart.
  const entry = { url, body: { key: newKey(), ...body, owner: OWNER }, text };
  const name = `${PENDING}${String(Date.now()).padStart(15, "0")}.${String(entries++).padStart(6, "0")}.${entry.body.key}`;
  own.add(name);
  write(name, entry);
  send(hear);
}

export async function send(hear) {
  if (sending) return;
  sending = true;
  try {
    await empty(hear);
  } finally {
    sending = false;
  }
}

async function empty(hear) {
  for (let name, delay = 250; (name = pending()[0]); ) {
    const entry = read(name);
    // Another window has sent it meanwhile.
    if (!entry) continue;
    let answer = null, said = null;
    try {
      const body = JSON.stringify({ ...entry.body, ahead: pace.wanted(pending().length) });
      const sent = performance.now();
      answer = await fetch(entry.url, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      said = await answer.json();
      pace.took(performance.now() - sent);
    } catch { /* no answer, or half of one: it is sent again under the same key */ }
    if (answer?.status === 401) return hear.tell(`${said?.error ?? "You are signed out."} Your answers are kept in this browser.`);
    if (said && "owner" in said && said.owner !== OWNER) return hear.tell(`${said.error ?? "This browser is signed in otherwise."} ${notSent()}`);
    const taken = answer?.ok && said && ("taken" in said || "again" in said);
    const refused = !taken && said?.error && answer.status >= 400 && answer.status < 500;
    if (!taken && !refused) {
      hear.tell(`${whyNot(answer, said)} ${pending().length} kept here, trying again …`);
      await pause(delay);
      delay = Math.min(delay * 2, 5000);
      continue;
    }
    delay = 250;
    if (refused) refuse(name, entry, said, hear);
    remove(name);
    if (taken) hear.took(said, entry, own.has(name));
  }
  hear.emptied();
}

// Why an answer was neither taken nor refused: the server says so itself, or it is not there.
function whyNot(answer, said) {
  if (answer && answer.status < 500) return "Something else answers under this address.";
  return said?.error ?? "No connection.";
}

export function notSent() {
  const { name } = document.body.dataset, count = pending().length;
  return count ? `${count} answer${count === 1 ? "" : "s"} of ${name} ${count === 1 ? "is" : "are"} kept here until ${name} signs in again.` : "";
}

function refuse(name, entry, said, hear) {
  if (entry.url !== "/api/label") return hear.tell(said.error);
  // Who has taken an answer back does not miss it.
  const undone = pending().find((other) => read(other)?.body.label_key === entry.body.key);
  if (undone) return remove(undone);
  write(name.replace(PENDING, REFUSED), { ...entry, reason: said.error, standing: said.standing });
  hear.tell(`An answer was not taken: ${said.error.replace(/\.?$/, ".")} It is kept below.`);
  return hear.kept(entry);
}

export const refused = () => names(REFUSED).map((name) => ({ name, ...read(name) })).filter((entry) => entry.body);

export const discard = (entry) => remove(entry.name);

// Once more, under a new key: the old one may stand for something else. `over` is the answer that it is to replace.
export function retry(entry, key, hear) {
  const over = entry.standing?.seq ?? entry.body.over ?? null;
  post(entry.url, { ...entry.body, key, over }, entry.text, hear);
  remove(entry.name);
}

// What others keep in this browser is theirs: counted, to be saved, and left alone.
export const strays = () => Object.keys(localStorage).filter((name) => ANYBODYS.test(name) && !name.startsWith(PENDING) && !name.startsWith(REFUSED));

// An answer from before the update, of a person with this number: he knows best whether it belongs here.
export function adopt() {
  for (const name of Object.keys(localStorage)) {
    const [, person, rest] = FORMER.exec(name) ?? [];
    const entry = person === document.body.dataset.person && read(name);
    if (!entry) continue;
    if (entry.url === "/api/label") write(`${REFUSED}${rest}`, { ...entry, reason: "It was given before an update of this page, perhaps in another project." });
    remove(name);
  }
}

// The lines that `mulan label import` reads, as far as they say whose they are.
export function asFile(list) {
  const lines = list.filter((entry) => entry.body?.label).map(({ body, text, reason }) => {
    const { item_id, label, unsure, skip_reason, note, guideline } = body;
    const mine = body.owner === OWNER || !body.owner;
    const row = { item_id, text, annotator: mine ? document.body.dataset.name : undefined, owner: body.owner, label, unsure, skip_reason, note, guideline, reason };
    return JSON.stringify(row, (_, value) => value ?? undefined);
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.map((line) => `${line}\n`).join("")], { type: "application/x-ndjson" }));
  link.download = "answers-not-taken.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
}

export const readAll = (list) => list.map(read).filter(Boolean);
