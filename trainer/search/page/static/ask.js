// What the server knows. Whatever goes wrong is an Error whose message a person can read.
export const known = new Map();  // recording_id -> what was last heard of it

const lengthOf = (query) => query.toString().length;

async function answerOf(request) {
  const answer = await request.catch(() => null);
  if (!answer) throw new Error("The server does not answer. Is it still running?");
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Error(said?.error ?? `The server answers ${answer.status}.`);
}

// `parameters`: name -> text, number or list of texts; what is empty is left out.
export async function ask(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) query.append(name, one);
  }
  if (lengthOf(query) > 60_000) throw new Error("That is too long a question.");
  const said = await (await answerOf(fetch(`${path}?${query}`, { signal }))).json();
  for (const one of said.hits ?? said.points ?? []) known.set(one.recording_id, one);
  return said;
}

export async function fileOf(path, body) {
  const headers = { "content-type": "application/json" };
  return (await answerOf(fetch(path, { method: "POST", headers, body: JSON.stringify(body) }))).blob();
}

export function titleOf(track) {
  return track.title || track.recording_id;
}

export async function lookUp(recordingId) {
  if (!known.has(recordingId)) known.set(recordingId, await ask("/api/recordings", { recording_id: recordingId }));
  return known.get(recordingId);
}

export function clock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
