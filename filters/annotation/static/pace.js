// How many sentences the page asks for, so that nobody waits for one: by how fast answers come and how long the server takes.

const FIRST = 8, SPARE = 4, MOST = 60;
// Of the last few: one slow request or one long thought is no pace.
const gaps = [], trips = [];
let last = 0;

const middle = (values) => values.toSorted((one, other) => one - other)[values.length >> 1];

function note(values, value) {
  values.push(value);
  if (values.length > 9) values.shift();
}

export function answered(now = performance.now()) {
  // After a pause the pace is not known to have changed.
  if (last && now - last < 60_000) note(gaps, now - last);
  last = now;
}

export const took = (ms) => note(trips, ms);

// `unsent` answers hold their sentences still, and each takes one more request.
export function wanted(unsent) {
  if (!gaps.length || !trips.length) return FIRST + unsent;
  return Math.min(MOST, SPARE + unsent + 1 + Math.ceil((3 * middle(trips)) / Math.max(middle(gaps), 50)));
}
