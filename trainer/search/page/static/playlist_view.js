// The playlist as one sees it: in order, to play, to move and to save as a file.
import { ask, fileOf, titleOf } from "./ask.js";
import * as playlist from "./playlist.js";
import * as tracks from "./tracks.js";

const find = (selector) => document.querySelector(selector);
const say = (text) => { find("#playlist-status").textContent = text; };
const WAY = 12;

function tools(track, place) {
  const title = titleOf(track);
  const buttons = [
    tracks.tool("↑", `Earlier: ${title}`, () => shift(place, -1)),
    tracks.tool("↓", `Later: ${title}`, () => shift(place, 1)),
    tracks.tool("Take out", `Take out: ${title}`, () => {
      playlist.remove(track.recording_id);
      say(`Taken out: ${title}`);
      (find(`#playlist li:nth-child(${Math.max(1, place)}) .disc`) ?? find("#playlist-title")).focus();
    }),
  ];
  buttons[0].disabled = place === 0;
  buttons[1].disabled = place === playlist.tracks().length - 1;
  return buttons;
}

function shift(place, by) {
  playlist.move(place, by);
  const row = find(`#playlist li:nth-child(${place + by + 1})`);
  const buttons = row.querySelectorAll(".track-tools button:not([disabled])");
  buttons[by < 0 ? 0 : Math.min(1, buttons.length - 1)].focus();
  say(`${row.querySelector(".title").textContent} is number ${place + by + 1}`);
}

export function show() {
  const list = playlist.tracks();
  find("#playlist-count").textContent = list.length ? ` (${list.length})` : "";
  find("#playlist-empty").hidden = list.length > 0;
  find("#playlist-tools").hidden = !list.length;
  find("#playlist-way").hidden = list.length < 2;
  tracks.show(find("#playlist"), list, tools);
}

for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", async () => {
    const format = button.dataset.save;
    try {
      const recording_ids = playlist.tracks().map((one) => one.recording_id);
      const link = tracks.element("a", { download: `playlist.${format}` });
      link.href = URL.createObjectURL(await fileOf("/api/playlist", { format, recording_ids }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      say(`Saved as playlist.${format}`);
    } catch (error) {
      say(error.message);
    }
  });
}

find("#playlist-way").addEventListener("click", async () => {
  const list = playlist.tracks();
  try {
    const said = await ask("/api/path", { from_id: list[0].recording_id, to_id: list.at(-1).recording_id, n: WAY });
    playlist.put(said.hits);
    say(`${said.hits.length} recordings lead from the first to the last`);
  } catch (error) {
    say(error.message);
  }
});

find("#playlist-clear").addEventListener("click", () => {
  playlist.put([]);
  say("The playlist is empty.");
  find("#playlist-title").focus();
});
document.addEventListener("playlist", show);
show();
