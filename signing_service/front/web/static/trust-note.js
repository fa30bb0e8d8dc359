// Checkpoints and the signed notes that carry them (C2SP tlog-checkpoint and signed-note), as the server's own
// reader takes them: strict, so that one text has one meaning. Whatever is wrong is a NoteInvalid with a code.

export class NoteInvalid extends Error {
  constructor(code) {
    super(code);
    this.name = "NoteInvalid";
    this.code = code;
  }
}

const MOST_CHARACTERS = 64 * 1024;
const MOST_SIGNATURES = 64;
const SIGNATURE = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u;
const SIZE = /^(0|[1-9][0-9]{0,15})$/;
const NAME = /^[^\s+\p{Cc}]+$/u;
const CONTROL = /[\u0000-\u0009\u000b-\u001f]/;
const SURROGATE = /\p{Surrogate}/u;
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

export async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
}

export function joined(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export function hex(bytes) {
  return [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

// One text for one value, or an edited note could still verify.
export function unbase64(text) {
  let plain;
  try {
    plain = atob(text);
  } catch {
    throw new NoteInvalid("not-base64");
  }
  if (btoa(plain) !== text) throw new NoteInvalid("not-base64");
  return Uint8Array.from(plain, character => character.charCodeAt(0));
}

function utf8(text) {
  return new TextEncoder().encode(text);
}

// ---------------------------------------------------------------------------------------------------------- keys

// `<name>+<key id>+<base64(type || key)>`: the whole key is what is trusted, the id only tells keys apart.
export async function parseVerifier(text) {
  const [name, id, encoded, ...rest] = splitOff(text.trim());
  if (rest.length || !encoded || !NAME.test(name)) throw new NoteInvalid("not-a-key");
  const raw = unbase64(encoded);
  const [kind, body] = [raw[0], raw.slice(1)];
  const key = await imported(kind, body);
  const expected = kind === 1 ? await sha256(utf8(`${name}\n`), raw) : await sha256(body);
  if (hex(expected.slice(0, 4)) !== id) throw new NoteInvalid("not-a-key");
  return {name, id, kind, key, text: text.trim()};
}

// The encoded key may contain plus signs, the name may not.
function splitOff(text) {
  const first = text.indexOf("+");
  const second = text.indexOf("+", first + 1);
  return first < 1 || second < 0 ? [] : [text.slice(0, first), text.slice(first + 1, second), text.slice(second + 1)];
}

async function imported(kind, body) {
  try {
    if (kind === 1 && body.length === 32) return await crypto.subtle.importKey("raw", body, "Ed25519", false, ["verify"]);
    if (kind === 2) return await crypto.subtle.importKey("spki", body, {name: "ECDSA", namedCurve: "P-256"}, false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") throw new NoteInvalid("browser-too-old");
  }
  throw new NoteInvalid("not-a-key");
}

async function verifies(verifier, signature, text) {
  if (verifier.kind === 1) return crypto.subtle.verify("Ed25519", verifier.key, signature, utf8(text));
  const raw = rawSignature(signature);
  return raw !== null && crypto.subtle.verify({name: "ECDSA", hash: "SHA-256"}, verifier.key, raw, utf8(text));
}

// DER (X.690, exactly one spelling) to the r || s that WebCrypto wants; null for anything else.
export function rawSignature(der) {
  if (der[0] !== 0x30 || der[1] !== der.length - 2 || der[1] > 127) return null;
  const r = integer(der, 2);
  const s = r && integer(der, r.end);
  if (!s || s.end !== der.length) return null;
  return joined(r.value, s.value);
}

function integer(der, at) {
  const length = der[at + 1];
  const bytes = der.slice(at + 2, at + 2 + length);
  if (der[at] !== 0x02 || !length || length > 33 || bytes.length !== length) return null;
  if (bytes[0] & 0x80 || (bytes[0] === 0 && length > 1 && !(bytes[1] & 0x80))) return null;
  const number = BigInt(`0x${hex(bytes)}`);
  if (number === 0n || number >= P256_ORDER) return null;
  const digits = number.toString(16).padStart(64, "0");
  return {value: Uint8Array.from(digits.match(/../g), pair => parseInt(pair, 16)), end: at + 2 + length};
}

// --------------------------------------------------------------------------------------------------------- notes

// The checkpoint in a note that this key has signed. Lines of other keys are passed over; a line of this key that
// does not verify rejects the note. The log's origin is the key's name: another origin is another log.
export async function openNote(text, verifier) {
  const {body, signatures} = split(text);
  let signed = false;
  for (const {name, value} of signatures) {
    if (name !== verifier.name || hex(value.slice(0, 4)) !== verifier.id) continue;
    if (!await verifies(verifier, value.slice(4), body)) throw new NoteInvalid("bad-signature");
    signed = true;
  }
  if (!signed) throw new NoteInvalid("not-signed");
  const checkpoint = parseBody(body);
  if (checkpoint.origin !== verifier.name) throw new NoteInvalid("other-log");
  return {...checkpoint, note: text};
}

function split(text) {
  if (text.length > MOST_CHARACTERS || CONTROL.test(text) || SURROGATE.test(text)) throw new NoteInvalid("not-a-note");
  const at = text.lastIndexOf("\n\n");
  if (at < 1 || !text.endsWith("\n") || at + 2 === text.length) throw new NoteInvalid("not-a-note");
  const lines = text.slice(at + 2, -1).split("\n");
  if (lines.length > MOST_SIGNATURES) throw new NoteInvalid("not-a-note");
  return {body: text.slice(0, at + 1), signatures: lines.map(signatureLine)};
}

function signatureLine(line) {
  const match = SIGNATURE.exec(line);
  if (!match) throw new NoteInvalid("not-a-note");
  const value = unbase64(match[2]);
  if (value.length <= 4) throw new NoteInvalid("not-a-note");
  return {name: match[1], value};
}

// Three lines and no more: this log signs no extension lines, which nobody could check.
function parseBody(body) {
  const [origin, size, root, end, ...more] = body.split("\n");
  if (end !== "" || more.length || !origin || !SIZE.test(size) || !Number.isSafeInteger(Number(size)))
    throw new NoteInvalid("not-a-checkpoint");
  const digest = unbase64(root);
  if (digest.length !== 32) throw new NoteInvalid("not-a-checkpoint");
  return {origin, size: Number(size), root: digest};
}
