// The page that verifies the log. The server is asked for notes, texts and proofs and believed in nothing: what is
// said to be proven was computed here, against a key that the auditor compared and this browser keeps.

import {hex, NoteInvalid, openNote, parseVerifier} from "./trust-note.js";
import {leafHash, ProofInvalid, unhex, verifyConsistency, verifyInclusion} from "./trust-tree.js";
import * as kept from "./trust-kept.js";

const PROOFS = "/console/proofs";
const at = id => document.getElementById(id);
const state = {verifier: null, newest: null};

// ------------------------------------------------------------------------------------------------------ speaking

function say(key, values = {}) {
  const sentence = at("says").content.querySelector(`[data-key="${key}"]`);
  const text = sentence ? sentence.textContent : key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => name in values ? String(values[name]) : whole);
}

function tell(list, key, values, kind = "") {
  const line = document.createElement("li");
  line.textContent = say(key, values);
  line.className = kind;
  line.dataset.said = key;
  at(list).append(line);
}

function proven(key, values) {
  tell("proven", key, values);
}

function open(key, values) {
  tell("open", key, values);
}

function shout(key, values) {
  at("alarm").hidden = false;
  tell("alarms", key, values);
}

function reasonOf(error) {
  if (error instanceof NoteInvalid) return say(`note-${error.code}`);
  if (error instanceof ProofInvalid) return say(`proof-${error.code}`);
  if (error instanceof Refused) return say(`answer-${[401, 404, 503].includes(error.status) ? error.status : "other"}`);
  return say("answer-away");
}

function result(place, key, values, good) {
  place.textContent = say(key, values);
  place.className = `result ${good ? "good" : "bad"}`;
  place.dataset.said = key;
}

class Refused extends Error {
  constructor(status) {
    super(`the server answered ${status}`);
    this.status = status;
  }
}

async function ask(path) {
  const answer = await fetch(`${PROOFS}/${path}`, {headers: {accept: "application/json"}, redirect: "manual", cache: "no-store"});
  if (answer.type === "opaqueredirect") throw new Refused(401);
  if (!answer.ok) throw new Refused(answer.status);
  return answer.json();
}

// ----------------------------------------------------------------------------------------------------- verifying

// Throws unless the older checkpoint is the beginning of the newer one.
async function continues(older, newer) {
  if (older.size > newer.size) throw new ProofInvalid("shorter");
  const {proof} = older.size === newer.size || older.size === 0
    ? {proof: []} : await ask(`consistency?old=${older.size}&new=${newer.size}`);
  await verifyConsistency(older.size, older.root, newer.size, newer.root, proof.map(unhex));
}

async function verifyNewest() {
  const told = await ask("newest");
  const pinned = kept.key();
  if (!pinned) return offerKey(told.keys[0]);
  state.verifier = await parseVerifier(pinned);
  if (!told.keys.includes(pinned)) shoutKey(told.keys[0]);
  const newest = await openNote(told.note, state.verifier);
  proven("proven-signed", {size: newest.size, key: state.verifier.id});
  open("open-key");
  await verifyKept(newest);
  state.newest = newest;
  kept.keepCheckpoint(newest.note);
  at("tools").hidden = false;
  return undefined;
}

async function verifyKept(newest) {
  if (kept.isDamaged()) shout("alarm-kept");
  const notes = kept.checkpoints();
  const opened = [];
  for (const note of notes) opened.push(await openNote(note, state.verifier));
  if (!opened.length) return open("open-first", {size: newest.size});
  // The longest that was ever kept, and the first one: between them lies all that this browser has seen.
  const longest = opened.reduce((one, other) => other.size >= one.size ? other : one);
  await continues(longest, newest);
  if (opened[0].size < longest.size) await continues(opened[0], newest);
  proven("proven-continues", {old: longest.size, new: newest.size});
  return open("open-before", {size: opened[0].size});
}

async function verifyEntry(id) {
  const told = await ask(`inclusion?entry=${encodeURIComponent(id)}&size=${state.newest.size}`);
  const leaf = await leafHash(told.text);
  if (JSON.parse(told.text).id !== id) throw new ProofInvalid("other-entry");
  await verifyInclusion(leaf, told.index, state.newest.size, told.proof.map(unhex), state.newest.root);
  const before = kept.entry(id);
  if (before && (before.index !== told.index || before.leaf !== hex(leaf))) throw new ProofInvalid("entry-changed");
  kept.keepEntry(id, told.index, hex(leaf));
  return {index: told.index, text: told.text, leaf: hex(leaf)};
}

// Either may be the longer one: whoever pasted it may have seen more than this server shows.
async function verifyPasted(text) {
  const pasted = await openNote(text.replace(/\r\n/g, "\n").replace(/\s*$/, "\n").trimStart(), state.verifier);
  await continues(pasted, state.newest);
  return pasted;
}

// --------------------------------------------------------------------------------------------------------- pages

function offerKey(text) {
  at("offered").textContent = text;
  at("f-pin").value = "";
  at("first").hidden = false;
  open("open-unpinned");
}

function shoutKey(text) {
  shout("alarm-key");
  at("offered").textContent = text;
  at("first").hidden = false;
}

async function pin(event) {
  event.preventDefault();
  const place = at("pin-result");
  try {
    const verifier = await parseVerifier(at("f-pin").value || at("offered").textContent);
    if (kept.key() !== null && kept.key() !== verifier.text) kept.forgetCheckpoints();
    kept.keepKey(verifier.text);
    location.reload();
  } catch (error) {
    result(place, "pin-refused", {why: reasonOf(error)}, false);
  }
}

async function entered(event) {
  event.preventDefault();
  const place = at("entry-result");
  const id = at("f-entry").value.trim();
  at("entry-text").textContent = "";
  try {
    const found = await verifyEntry(id);
    result(place, "entry-proven", {index: found.index, size: state.newest.size, leaf: found.leaf}, true);
    at("entry-text").textContent = JSON.stringify(JSON.parse(found.text), null, 2);
  } catch (error) {
    result(place, "entry-refused", {why: reasonOf(error)}, false);
  }
}

async function pasted(event) {
  event.preventDefault();
  const place = at("paste-result");
  try {
    const found = await verifyPasted(at("f-pasted").value);
    result(place, "paste-proven", {old: found.size, new: state.newest.size}, true);
  } catch (error) {
    result(place, "paste-refused", {why: reasonOf(error)}, false);
  }
}

async function checked(event) {
  const button = event.target.closest("button[data-checkpoint]");
  if (!button || !state.newest) return;
  const place = button.closest("tr").querySelector(".result");
  try {
    const told = await ask(`checkpoints/${button.dataset.checkpoint}`);
    await continues(await openNote(told.note, state.verifier), state.newest);
    result(place, "row-proven", {}, true);
  } catch (error) {
    result(place, "row-refused", {why: reasonOf(error)}, false);
  }
}

async function begin() {
  at("with-script").hidden = false;
  at("without-script").hidden = true;
  at("pin").addEventListener("submit", pin);
  at("entry").addEventListener("submit", entered);
  at("paste").addEventListener("submit", pasted);
  at("history").addEventListener("click", checked);
  if (!globalThis.crypto?.subtle) return shout("alarm-browser");
  try {
    await verifyNewest();
    if (state.newest && at("f-entry").value) at("entry").requestSubmit();
  } catch (error) {
    shout(error instanceof Refused ? "alarm-answer" : "alarm-refused", {why: reasonOf(error)});
  }
  for (const button of document.querySelectorAll("button[data-checkpoint]")) button.disabled = !state.newest;
  at("state").textContent = say(state.newest ? "state-done" : "state-not");
  return undefined;
}

await begin();
document.documentElement.dataset.trust = "ready";
