// RFC 6962 Merkle trees: leaf hashes, and the proofs that an entry is in a log (RFC 9162 2.1.3.2) and that a log
// continues an older one (2.1.4.2). What does not prove raises a ProofInvalid with a code; nothing returns false.

import {hex, joined, sha256} from "./trust-note.js";

export class ProofInvalid extends Error {
  constructor(code) {
    super(code);
    this.name = "ProofInvalid";
    this.code = code;
  }
}

export function leafHash(text) {
  return sha256(Uint8Array.of(0), new TextEncoder().encode(text));
}

function nodeHash(left, right) {
  return sha256(joined(Uint8Array.of(1), left, right));
}

export async function verifyInclusion(leaf, index, size, proof, root) {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size)
    throw new ProofInvalid("not-in-log");
  check(leaf, root, ...proof);
  let [fn, sn, digest] = [BigInt(index), BigInt(size) - 1n, leaf];
  for (const step of proof) {
    if (sn === 0n) throw new ProofInvalid("proof-length");
    if (fn & 1n || fn === sn) {
      digest = await nodeHash(step, digest);
      [fn, sn] = skipMissingRight(fn, sn);
    } else {
      digest = await nodeHash(digest, step);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn) throw new ProofInvalid("proof-length");
  if (!same(digest, root)) throw new ProofInvalid("other-root");
}

export async function verifyConsistency(oldSize, oldRoot, newSize, newRoot, proof) {
  if (![oldSize, newSize].every(Number.isSafeInteger) || oldSize < 0) throw new ProofInvalid("not-in-log");
  if (oldSize > newSize) throw new ProofInvalid("shorter");
  check(oldRoot, newRoot, ...proof);
  if (oldSize === 0 || oldSize === newSize) {
    if (proof.length) throw new ProofInvalid("proof-length");
    if (!same(oldRoot, oldSize === 0 ? await sha256() : newRoot)) throw new ProofInvalid("fork");
    if (newSize === 0 && !same(newRoot, await sha256())) throw new ProofInvalid("fork");
    return;
  }
  const steps = isPowerOfTwo(oldSize) ? [oldRoot, ...proof] : proof;
  if (!steps.length) throw new ProofInvalid("proof-length");
  await climb(BigInt(oldSize) - 1n, oldRoot, BigInt(newSize) - 1n, newRoot, steps[0], steps.slice(1));
}

async function climb(fn, oldRoot, sn, newRoot, seed, steps) {
  while (fn & 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
  let [older, newer] = [seed, seed];
  for (const step of steps) {
    if (sn === 0n) throw new ProofInvalid("proof-length");
    if (fn & 1n || fn === sn) {
      [older, newer] = [await nodeHash(step, older), await nodeHash(step, newer)];
      [fn, sn] = skipMissingRight(fn, sn);
    } else {
      newer = await nodeHash(newer, step);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn) throw new ProofInvalid("proof-length");
  if (!same(older, oldRoot) || !same(newer, newRoot)) throw new ProofInvalid("fork");
}

// Where the right edge has no sibling the proof has no step: climb until this node is a right child.
function skipMissingRight(fn, sn) {
  while (!(fn & 1n) && fn) [fn, sn] = [fn >> 1n, sn >> 1n];
  return [fn, sn];
}

function isPowerOfTwo(size) {
  const number = BigInt(size);
  return (number & (number - 1n)) === 0n;
}

function check(...hashes) {
  if (hashes.some(hash => hash.length !== 32)) throw new ProofInvalid("not-a-hash");
}

function same(one, other) {
  return hex(one) === hex(other);
}

export function unhex(text) {
  if (typeof text !== "string" || !/^([0-9a-f]{2})*$/.test(text)) throw new ProofInvalid("not-a-hash");
  return Uint8Array.from(text.match(/../g) ?? [], pair => parseInt(pair, 16));
}
