// A list of recordings. Their texts come from strangers and become text alone, in whatever direction they are written.
import { ask, clock, titleOf } from "./ask.js";
import * as player from "./player.js";
import * as playlist from "./playlist.js";

const FOUND_BY = { name: "found by name", both: "also by name" };
let numbered = 0;

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export const isolated = (text) => element("bdi", { textContent: text, dir: "auto" });

// A button that says what it does, and to which recording where one hears it. A narrow screen leaves out the `rest`.
export function tool(text, spoken, act, rest = "") {
  const button = element("button", { type: "button", className: "tool small" }, text);
  if (rest) button.append(element("span", { className: "rest", textContent: rest }));
  button.setAttribute("aria-label", spoken);
  button.addEventListener("click", () => act(button));
  return button;
}

// `tools(track, place)` are the buttons of a row besides those that every row has.
export function show(list, tracks, tools) {
  list.replaceChildren(...tracks.map((track, place) => row(tracks, place, tools)));
  mark();
}

function row(tracks, place, tools) {
  const track = tracks[place], title = titleOf(track);
  const disc = element("button", { type: "button", className: "disc" });
  Object.assign(disc.dataset, { recording: track.recording_id, title });
  disc.addEventListener("click", () => player.toggle(tracks, place));
  const parts = [track.artist && isolated(track.artist), track.start_s > 0 && `best at ${clock(track.start_s)}`, FOUND_BY[track.how]];
  const facts = element("p", { className: "quiet" });
  for (const part of parts.filter(Boolean)) facts.append(facts.childNodes.length ? " · " : "", part);
  const details = element("div", { className: "details", id: `details-${(numbered += 1)}`, hidden: true });
  const more = tool("Details", `Details: ${title}`, () => open(more, details, track));
  more.setAttribute("aria-expanded", "false");
  more.setAttribute("aria-controls", details.id);
  const what = element("div", { className: "what" }, element("p", { className: "title" }, isolated(title)), facts);
  const all = element("div", { className: "track-tools" }, ...tools(track, place), more);
  return element("li", { className: "track" }, disc, what, all, details);
}

// The button that puts a recording into the playlist, and takes it out again.
export function keeper(track) {
  const button = tool("Keep", `Keep in the playlist: ${titleOf(track)}`, () => {
    if (playlist.has(track.recording_id)) playlist.remove(track.recording_id);
    else playlist.add(track);
  });
  button.dataset.keeps = track.recording_id;
  return button;
}

async function open(button, details, track) {
  details.hidden = !details.hidden;
  button.setAttribute("aria-expanded", String(!details.hidden));
  if (details.hidden || details.childNodes.length) return;
  details.textContent = "Looking …";
  try {
    const parameters = { recording_id: track.recording_id };
    const [about, heard] = await Promise.all([ask("/api/recordings", parameters), ask("/api/tags", parameters)]);
    details.replaceChildren(facts(about), wordsHeard(heard.tags));
  } catch (error) {
    details.replaceChildren(element("p", { textContent: error.message }));
  }
}

function facts(about) {
  const list = element("dl", { className: "facts" });
  const length = about.duration_s ? clock(about.duration_s) : "";
  const shown = {
    Title: about.title, Artist: about.artist, Album: about.album, Year: about.year, Length: length, Tags: about.tags.join(", "),
    Licence: about.licence || "not known", Source: about.source, Id: about.recording_id,
  };
  for (const [name, value] of Object.entries(shown)) {
    if (value) list.append(element("dt", { textContent: name }), element("dd", {}, isolated(String(value))));
  }
  return list;
}

function wordsHeard(tags) {
  const links = tags.slice(0, 8).map(({ name }) => {
    const address = `#search?${new URLSearchParams({ text: name })}`;
    return element("a", { className: "tool small", href: address, textContent: name });
  });
  const words = element("div", { className: "tools" }, ...links);
  words.setAttribute("role", "group");
  words.setAttribute("aria-label", "Words that the model hears in it");
  return element("div", {}, element("p", { className: "quiet", textContent: "The model hears:" }), words);
}

// What plays, and what is in the playlist, in every list of the page.
export function mark() {
  for (const disc of document.querySelectorAll("[data-recording]")) {
    const on = player.isPlaying(disc.dataset.recording);
    disc.textContent = on ? "❚❚" : "▶";
    disc.setAttribute("aria-label", `${on ? "Pause" : "Play"}: ${disc.dataset.title}`);
    disc.closest(".track").classList.toggle("on", player.playing() === disc.dataset.recording);
  }
  const kept = new Set(playlist.tracks().map((one) => one.recording_id));
  for (const button of document.querySelectorAll("[data-keeps]")) {
    button.setAttribute("aria-pressed", String(kept.has(button.dataset.keeps)));
  }
}
document.addEventListener("playing", mark);
document.addEventListener("playlist", mark);
