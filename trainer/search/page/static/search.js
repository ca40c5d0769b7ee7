// The query and its answers. What is asked stands in the address, so that the browser's Back takes a step back.
import { ask, lookUp, titleOf } from "./ask.js";
import * as playlist from "./playlist.js";
import * as tracks from "./tracks.js";

const find = (selector) => document.querySelector(selector);
const form = find("#query");
let asked = new URLSearchParams(), shown = [], under_way = null;

export const found = () => shown.map((one) => one.recording_id);

function tools(track) {
  const title = titleOf(track);
  return [
    tracks.keeper(track),
    tracks.tool("More", `More like this: ${title}`, () => steer("like", track), " like this"),
    tracks.tool("Less", `Less like this: ${title}`, () => steer("unlike", track), " like this"),
    tracks.tool("Similar", `Similar to this alone: ${title}`, () => go(new URLSearchParams({ like: track.recording_id }))),
  ];
}

export const go = (query) => { location.hash = `search?${query}`; };

function steer(how, track) {
  const query = new URLSearchParams(asked);
  for (const name of ["like", "unlike"]) query.delete(name, track.recording_id);
  query.append(how, track.recording_id);
  go(query);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value.trim()) query.set(name, value.trim());
  // A new text is a new question; the same one keeps what it is steered by.
  if (query.get("text") === asked.get("text")) {
    for (const name of ["like", "unlike"]) for (const one of asked.getAll(name)) query.append(name, one);
  }
  if (`${query}` === `${asked}`) run(query);
  else go(query);
});

export async function run(query) {
  asked = query;
  under_way?.abort();
  under_way = new AbortController();
  const { signal } = under_way;
  for (const name of ["text", "away_from", "where"]) form.elements[name].value = query.get(name) ?? "";
  find("#finer").open ||= query.has("away_from") || query.has("where");
  find("#ideas").hidden = `${query}` !== "";
  if (`${query}` === "") return;
  find("#status").textContent = "Searching …";
  try {
    await showTaste(query);
    const parameters = Object.fromEntries(["like", "unlike", "away_from"].map((name) => [name, query.getAll(name)]));
    const said = await ask("/api/search", { ...parameters, text: query.get("text"), where: query.get("where"), k: 30 }, signal);
    if (!signal.aborted) show(said.hits, query);
  } catch (error) {
    if (signal.aborted) return;
    show([], query);
    find("#results-title").textContent = "This could not be searched";
    find("#status").textContent = error.message;
  }
}

function headline(text) {
  if (!text) return "What is most alike";
  return `What fits “${text.length > 60 ? `${text.slice(0, 59)}…` : text}” best`;
}

function show(hits, query) {
  shown = hits;
  find("#all-to-playlist").hidden = !hits.length;
  find("#results-title").textContent = hits.length ? headline(query.get("text")) : "Nothing to show";
  const advice = query.has("where") ? "No recording is like that. Take something out of “Only where”." : "No recording is left to find.";
  find("#status").textContent = hits.length ? `${hits.length} recordings` : advice;
  tracks.show(find("#results"), hits, tools);
  // The button that asked is gone with its row: one goes on from the answers, not from the top of the page.
  if (document.activeElement === document.body) find("#results-title").focus();
}

async function showTaste(query) {
  const chips = [];
  for (const [how, words] of [["like", "more like"], ["unlike", "less like"]]) {
    for (const id of query.getAll(how)) {
      const title = titleOf(await lookUp(id).catch(() => ({ recording_id: id })));
      const drop = tracks.tool("✕", `Not any more: ${words} ${title}`, () => {
        const rest = new URLSearchParams(asked);
        rest.delete(how, id);
        go(rest);
      });
      chips.push(tracks.element("li", { className: `chip ${how}` }, `${words} `, tracks.isolated(title), drop));
    }
  }
  find("#taste").hidden = !chips.length;
  find("#chips").replaceChildren(...chips);
}

find("#all-to-playlist").addEventListener("click", () => {
  playlist.add(...shown);
  find("#status").textContent = `${playlist.tracks().length} recordings in the playlist`;
});
