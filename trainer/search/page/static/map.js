// The map: a canvas to look at, with a cross that the arrow keys move from recording to recording, and beside it the list
// of what lies around the cross, which has buttons for everything.
import { ask, titleOf } from "./ask.js";
import * as player from "./player.js";
import { go } from "./search.js";
import * as tracks from "./tracks.js";

const find = (selector) => document.querySelector(selector);
const canvas = find("#plane");
const NEAR = 8, MARGIN = 24, CLOSEST = 60;
// The view: the plane's point in the middle, and how many times it is enlarged.
let points = null, asking = null, marked = new Set(), at = 0, middle = [0, 0], zoom = 1, span = 1;

export async function show(found) {
  marked = new Set(found);
  if (points) return draw();
  if (asking) return;
  find("#map-status").textContent = "Drawing the map …";
  asking = ask("/api/map");
  try {
    const said = await asking;
    points = said.points;
    const part = said.points.length < said.recordings;
    find("#map-part").textContent = part ? `Shown are ${said.points.length} of ${said.recordings.toLocaleString("en")}.` : "";
    find("#map-status").textContent = points.length ? "" : "There is nothing in the collection.";
    all();
    if (points.length) choose(nearest(...middle)[0], false);
  } catch (error) {
    find("#map-status").textContent = error.message;
  }
  asking = null;
}

function all() {
  const edges = (name) => points.reduce(([low, high], one) => [Math.min(low, one[name]), Math.max(high, one[name])], [Infinity, -Infinity]);
  const [left, right] = edges("x"), [bottom, top] = edges("y");
  middle = [(left + right) / 2, (bottom + top) / 2];
  span = Math.max(right - left, top - bottom, 1e-9);
  zoom = 1;
  draw();
}

function scale() {
  const { width, height } = canvas.getBoundingClientRect();
  return { width, height, each: ((Math.min(width, height) - 2 * MARGIN) / span) * zoom };
}

function onScreen(one, { width, height, each }) {
  return [width / 2 + (one.x - middle[0]) * each, height / 2 - (one.y - middle[1]) * each];
}

// The places of the points, the nearest first.
function nearest(x, y) {
  const distance = (one) => (one.x - x) ** 2 + (one.y - y) ** 2;
  return points.map((one, place) => [distance(one), place]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, place]) => place);
}

function choose(place, spoken = true) {
  at = place;
  const here = points[at];
  const size = scale(), [x, y] = onScreen(here, size);
  if (x < MARGIN || y < MARGIN || x > size.width - MARGIN || y > size.height - MARGIN) middle = [here.x, here.y];
  const near = nearest(here.x, here.y);
  // Of several recordings at one place, the chosen one goes first.
  const around = [at, ...near.filter((other) => other !== at)].slice(0, NEAR).map((other) => points[other]);
  tracks.show(find("#near"), around, tools);
  if (spoken) find("#map-status").textContent = [titleOf(here), here.artist].filter(Boolean).join(", ");
  draw();
}

function tools(track) {
  const title = titleOf(track);
  return [
    tracks.keeper(track),
    tracks.tool("Similar", `Similar: ${title}`, () => go(new URLSearchParams({ like: track.recording_id }))),
  ];
}

function draw() {
  const size = scale();
  if (!points || !size.width) return;
  const dense = devicePixelRatio || 1;
  canvas.width = size.width * dense;
  canvas.height = size.height * dense;
  const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  pen.scale(dense, dense);
  const radius = Math.min(7, Math.max(2, 40 / Math.sqrt(points.length)) * Math.sqrt(Math.sqrt(zoom)));
  const dots = (wanted, fill, alpha, larger) => {
    pen.fillStyle = fill;
    pen.globalAlpha = alpha;
    for (const one of points) {
      if (!wanted(one)) continue;
      const [x, y] = onScreen(one, size);
      pen.beginPath();
      pen.arc(x, y, radius * larger, 0, 2 * Math.PI);
      pen.fill();
    }
  };
  dots((one) => !marked.has(one.recording_id), colour("--quiet"), 0.55, 1);
  dots((one) => marked.has(one.recording_id), colour("--accent"), 1, 1.5);
  pen.globalAlpha = 1;
  if (!points.length) return;
  const [x, y] = onScreen(points[at], size);
  pen.strokeStyle = colour("--ink");
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(x, y, radius * 1.5 + 5, 0, 2 * Math.PI);
  pen.stroke();
  label(pen, titleOf(points[at]), x, y - radius * 1.5 - 12, size, colour);
}

function label(pen, title, x, y, size, colour) {
  pen.font = "600 14px system-ui, sans-serif";
  pen.textAlign = "center";
  const short = title.length > 40 ? `${title.slice(0, 39)}…` : title;
  const half = pen.measureText(short).width / 2 + 6;
  const place = Math.min(Math.max(x, half), Math.max(half, size.width - half));
  const line = y < 20 ? y + 60 : y;
  pen.fillStyle = colour("--card");
  pen.globalAlpha = 0.85;
  pen.fillRect(place - half, line - 15, 2 * half, 20);
  pen.globalAlpha = 1;
  pen.fillStyle = colour("--ink");
  pen.fillText(short, place, line);
}

function enlarge(by) {
  zoom = Math.min(CLOSEST, Math.max(1, zoom * by));
  if (points?.length) middle = zoom === 1 ? middle : [points[at].x, points[at].y];
  if (zoom === 1 && points) all();
  else draw();
}

// The nearest one that lies more in a direction than beside it.
function neighbour(right, up) {
  const here = points[at];
  const place = nearest(here.x, here.y).find((other) => {
    const [x, y] = [points[other].x - here.x, points[other].y - here.y];
    const ahead = x * right + y * up, beside = Math.abs(x * up) + Math.abs(y * right);
    return ahead > 0 && ahead >= beside;
  });
  if (place === undefined) find("#map-status").textContent = "Nothing lies further that way.";
  else choose(place);
}

const KEYS = {
  ArrowLeft: () => neighbour(-1, 0), ArrowRight: () => neighbour(1, 0), ArrowUp: () => neighbour(0, 1), ArrowDown: () => neighbour(0, -1),
  Enter: () => player.toggle([points[at]], 0), "+": () => enlarge(1.6), "-": () => enlarge(1 / 1.6), 0: () => all(),
};
canvas.addEventListener("keydown", (event) => {
  if (!points?.length || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

let grip = null;
const spotOf = (event) => [event.offsetX, event.offsetY];
canvas.addEventListener("pointerdown", (event) => {
  grip = { from: spotOf(event), middle, moved: false };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!grip || !points) return;
  const [x, y] = spotOf(event), [fromX, fromY] = grip.from, { each } = scale();
  grip.moved ||= Math.hypot(x - fromX, y - fromY) > 6;
  if (!grip.moved) return;
  middle = [grip.middle[0] - (x - fromX) / each, grip.middle[1] + (y - fromY) / each];
  draw();
});
canvas.addEventListener("pointerup", (event) => {
  const { width, height, each } = scale(), [x, y] = spotOf(event);
  if (grip && !grip.moved && points?.length) choose(nearest(middle[0] + (x - width / 2) / each, middle[1] - (y - height / 2) / each)[0]);
  grip = null;
});
canvas.addEventListener("pointercancel", () => { grip = null; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  enlarge(event.deltaY < 0 ? 1.2 : 1 / 1.2);
}, { passive: false });

find("#zoom-in").addEventListener("click", () => enlarge(1.6));
find("#zoom-out").addEventListener("click", () => enlarge(1 / 1.6));
find("#zoom-all").addEventListener("click", () => points && all());
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
