// Which part of the page is shown: the one that the address names, so that sound plays on from part to part.
import { ask } from "./ask.js";
import * as map from "./map.js";
import "./playlist_view.js";
import * as search from "./search.js";
import { element } from "./tracks.js";

const find = (selector) => document.querySelector(selector);
const VIEWS = ["search", "map", "playlist", "about"];

function show(event) {
  const [name, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  const view = VIEWS.includes(name) ? name : "search";
  for (const one of VIEWS) find(`#view-${one}`).hidden = one !== view;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${find(`#view-${view} h1`).textContent} · OpenMuLan`;
  if (view === "search") search.run(new URLSearchParams(query));
  if (view === "map") map.show(search.found());
  // After a step to another part one is at its beginning, also with a screen reader.
  if (event && view !== "search") find(`#view-${view} h1`).focus();
}

find("#examine").addEventListener("click", async () => {
  find("#health-status").textContent = "Examining …";
  try {
    const said = await ask("/api/health");
    find("#health-status").textContent = said.is_well ? "Nothing is amiss." : "Something is amiss:";
    find("#health").replaceChildren(...said.lines.map((line) => element("li", { textContent: line })));
  } catch (error) {
    find("#health-status").textContent = error.message;
  }
});
for (const title of document.querySelectorAll("h1")) title.tabIndex = -1;
addEventListener("hashchange", show);
show();
