// What this browser keeps between visits: the log's key, the checkpoints it verified, and entries it saw proven.
// None of it is secret; all of it is what makes a change noticed later. What cannot be read counts as damaged.

const KEY = "trust.key";
const CHECKPOINTS = "trust.checkpoints";
const ENTRIES = "trust.entries";
const MOST_CHECKPOINTS = 50;
const MOST_ENTRIES = 200;

export function key() {
  return localStorage.getItem(KEY);
}

export function keepKey(text) {
  localStorage.setItem(KEY, text);
}

// The notes, the oldest first.
export function checkpoints() {
  return list(CHECKPOINTS).filter(note => typeof note === "string");
}

// The first one is never given up: nothing before it can be proven here, and everything since can.
export function keepCheckpoint(note) {
  const kept = checkpoints();
  if (kept.at(-1) === note) return;
  const [first, ...others] = [...kept, note];
  localStorage.setItem(CHECKPOINTS, JSON.stringify([first, ...others.slice(1 - MOST_CHECKPOINTS)]));
}

// Where an entry stood and what its hash was when it was proven here; null if it never was.
export function entry(id) {
  return list(ENTRIES).find(each => each?.id === id) ?? null;
}

export function keepEntry(id, index, leaf) {
  const others = list(ENTRIES).filter(each => each?.id !== id);
  localStorage.setItem(ENTRIES, JSON.stringify([...others, {id, index, leaf}].slice(-MOST_ENTRIES)));
}

// Checkpoints belong to their key: with another one they cannot be verified any more.
export function forgetCheckpoints() {
  localStorage.removeItem(CHECKPOINTS);
  localStorage.removeItem(ENTRIES);
}

export function isDamaged() {
  try {
    return [CHECKPOINTS, ENTRIES].some(name => !Array.isArray(JSON.parse(localStorage.getItem(name) ?? "[]")));
  } catch {
    return true;
  }
}

function list(name) {
  try {
    const found = JSON.parse(localStorage.getItem(name) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}
