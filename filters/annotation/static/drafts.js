// What is typed before it is sent: kept for each sentence, for this project and this person, so that a reload, an undo or a
// look at another page loses no note.

const { project, person } = document.body.dataset;
export const OWNER = `${project}.${person}`;
const place = (item) => `mulan.draft.${OWNER}.${item}`;

export function load(item) {
  try {
    return JSON.parse(localStorage.getItem(place(item)));
  } catch {
    return null;
  }
}

// A draft in which nothing stands is none.
export function keep(item, draft) {
  try {
    if (Object.values(draft).some(Boolean)) localStorage.setItem(place(item), JSON.stringify(draft));
    else drop(item);
  } catch { /* full or switched off: the note is on the screen still */ }
}

export const drop = (item) => localStorage.removeItem(place(item));

export const items = () => Object.keys(localStorage).filter((name) => name.startsWith(place(""))).map((name) => name.slice(place("").length));
