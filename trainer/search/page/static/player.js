// One sound at a time, from the moment that matches, and the list that it was started from goes on after it.
import { clock, titleOf } from "./ask.js";

const find = (selector) => document.querySelector(selector);
const audio = find("#audio");
let queue = [], place = -1, excerpt = false;

export const playing = () => queue[place]?.recording_id ?? null;
const changed = () => document.dispatchEvent(new Event("playing"));

export function play(tracks, at) {
  [queue, place] = [tracks, at];
  start();
}

// The same button pauses what it plays.
export function toggle(tracks, at) {
  if (playing() !== tracks[at].recording_id) return play(tracks, at);
  if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
}

export const isPlaying = (recordingId) => playing() === recordingId && !audio.paused;

function start() {
  const track = queue[place];
  excerpt = false;
  find("#player").hidden = false;
  document.body.classList.add("with-player");
  find("#now-title").textContent = titleOf(track);
  const from = track.start_s > 0 ? `from ${clock(track.start_s)}` : "";
  find("#now-more").textContent = [track.artist, from].filter(Boolean).join(" · ");
  find("#previous").disabled = place === 0;
  find("#next").disabled = place === queue.length - 1;
  load(`/audio?${new URLSearchParams({ recording_id: track.recording_id })}`, track.start_s ?? 0);
}

function load(address, startS) {
  find("#player-status").textContent = "";
  audio.src = startS > 0 ? `${address}#t=${startS}` : address;
  // Playing may be refused until the page was touched, and ends when another is chosen: neither is a failure.
  audio.play().catch(() => {});
  changed();
}

audio.addEventListener("error", async () => {
  const track = queue[place];
  if (!track || !audio.getAttribute("src")) return;
  const parameters = new URLSearchParams({ recording_id: track.recording_id, start_s: track.start_s ?? 0 });
  const address = `/audio/excerpt?${parameters}`;
  if (!excerpt) {
    excerpt = true;
    load(address, 0);
    find("#player-status").textContent = "This browser does not know the file's format: half a minute of it is played.";
    return;
  }
  const said = await fetch(address).then((answer) => answer.json()).catch(() => null);
  if (queue[place] === track) find("#player-status").textContent = said?.error ?? "This recording cannot be played.";
  changed();
});
for (const name of ["play", "pause"]) audio.addEventListener(name, changed);
audio.addEventListener("ended", () => place < queue.length - 1 && step(1));

function step(by) {
  place += by;
  start();
}
find("#previous").addEventListener("click", () => step(-1));
find("#next").addEventListener("click", () => step(1));
