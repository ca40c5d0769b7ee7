// The playlist, kept by this browser: ids and what was known of them. Who changes it tells the page by an event.
const PLACE = "mulan.playlist";
const LONGEST = 1000;

function isTrack(one) {
  return typeof one?.recording_id === "string" && [one.title, one.artist].every((text) => typeof text === "string");
}

export function tracks() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE));
    return Array.isArray(kept) ? kept.filter(isTrack).slice(0, LONGEST) : [];
  } catch {
    return [];
  }
}

export const has = (recordingId) => tracks().some((one) => one.recording_id === recordingId);

function keep(list) {
  try {
    localStorage.setItem(PLACE, JSON.stringify(list.slice(0, LONGEST)));
  } catch { /* a browser that keeps nothing: the list is as it was */ }
  document.dispatchEvent(new Event("playlist"));
}

export function put(list) {
  keep(list.map(({ recording_id, title, artist }) => ({ recording_id, title, artist })));
}

export function add(...more) {
  const list = tracks();
  put([...list, ...more.filter((one) => !list.some((there) => there.recording_id === one.recording_id))]);
}

export function remove(recordingId) {
  put(tracks().filter((one) => one.recording_id !== recordingId));
}

export function move(from, by) {
  const list = tracks(), to = from + by;
  if (to < 0 || to >= list.length) return;
  list.splice(to, 0, ...list.splice(from, 1));
  put(list);
}

addEventListener("storage", (event) => event.key === PLACE && document.dispatchEvent(new Event("playlist")));
