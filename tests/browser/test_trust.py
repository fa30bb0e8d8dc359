"""The log, verified in the browser: what the scripts of the page prove, and what they refuse."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signing_service.errors import SigningError
from signing_service.tlog import note, tree
from tests.support.browser import DESKTOP, Chromium
from tests.support.small_log import SmallLog
from tests.support.town import Town

COMPUTE = """async cases => {
  const note = await import('/static/trust-note.js');
  const tree = await import('/static/trust-tree.js');
  const verbs = {
    note: async given => { await note.openNote(given.note, await note.parseVerifier(given.key)); },
    inclusion: async given => tree.verifyInclusion(
      await tree.leafHash(given.text), given.index, given.size, given.proof.map(tree.unhex), tree.unhex(given.root)),
    consistency: async given => tree.verifyConsistency(
      given.old, tree.unhex(given.old_root), given.new, tree.unhex(given.new_root), given.proof.map(tree.unhex)),
  };
  const found = [];
  for (const {verb, given} of cases) {
    try { await verbs[verb](given); found.push('holds'); } catch (error) { found.push(error.code ?? String(error)); }
  }
  return found;
}"""

LOGS = {"Ed25519": SmallLog(ed25519.Ed25519PrivateKey.generate()),
        "P-256": SmallLog(ec.generate_private_key(ec.SECP256R1()))}
for each in LOGS.values():
    each.writes(*(f"entry {number}, with a word: chữ ký" for number in range(24)))
LOG = LOGS["Ed25519"]

Given = dict[str, Any]
Spoil = Callable[[Given], Given]


def signed(log: SmallLog = LOG, **other: Any) -> Given:
    return {"note": log.note(), "key": log.verifier} | other


def included(place: int = 5, of: int = 21, **other: Any) -> Given:
    return {"text": LOG.texts[place], "index": place, "size": of, "proof": LOG.inclusion(place, of),
            "root": LOG.root(of).hex()} | other


def continued(begin: int = 13, end: int = 21, **other: Any) -> Given:
    return {"old": begin, "new": end, "proof": LOG.consistency(begin, end), "old_root": LOG.root(begin).hex(),
            "new_root": LOG.root(end).hex()} | other


def flipped(text: str, at: int = 0) -> str:
    """Another hexadecimal digit at one place."""
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]


def resigned(text: str, change: Callable[[bytes], bytes]) -> str:
    """The note with other bytes in its signature line."""
    head, _, encoded = text.rstrip("\n").rpartition(" ")
    return f"{head} {base64.b64encode(change(base64.b64decode(encoded))).decode()}\n"


def bit(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]


N, P = LOG.note(), LOGS["P-256"].note()
OTHER = SmallLog(ed25519.Ed25519PrivateKey.generate(), texts=LOG.texts)
FORK = LOG.forked(at=9)
FORK.writes(*LOG.texts[10:])
BODY = N.split("\n\n")[0] + "\n"
SIZE = f"\n{len(LOG.texts)}\n"

REFUSED: dict[str, tuple[str, Given, str]] = {
    "a note with another size": ("note", signed(note=N.replace(SIZE, "\n23\n")), "bad-signature"),
    "a note with another root": ("note", signed(note=N.replace(N.split("\n")[2], base64.b64encode(
        LOG.root(3)).decode())), "bad-signature"),
    "a note with another origin": ("note", signed(note=N.replace("signing.test/log\n", "other.test/log\n", 1)),
                                   "bad-signature"),
    "a note whose signature has one bit flipped": ("note", signed(note=resigned(N, lambda s: bit(s, 40))),
                                                   "bad-signature"),
    "a note whose key id is another": ("note", signed(note=resigned(N, lambda s: bit(s, 0))), "not-signed"),
    "a note under another name": ("note", signed(note=N.replace("— signing.test/log", "— other.test/log")),
                                  "not-signed"),
    "a note whose signature is cut short": ("note", signed(note=resigned(N, lambda s: s[:-1])), "bad-signature"),
    "a note whose signature has more behind it": ("note", signed(note=resigned(N, lambda s: s + b"x")),
                                                  "bad-signature"),
    "a note of the same log by another key": ("note", signed(note=OTHER.note()), "not-signed"),
    "a note without its signature": ("note", signed(note=BODY), "not-a-note"),
    "a note without its last newline": ("note", signed(note=N[:-1]), "not-a-note"),
    "a note with a carriage return": ("note", signed(note=N.replace("\n", "\r\n")), "not-a-note"),
    "half a note": ("note", signed(note=N[:len(N) // 2]), "not-a-note"),
    "nothing": ("note", signed(note=""), "not-a-note"),
    "a note whose base64 is spelled in another way": ("note", signed(note=N.replace("=\n", "\n")), "not-base64"),
    "a signed note with a line more": ("note", signed(note=LOG.signs(BODY + "more\n")), "not-a-checkpoint"),
    "a signed note with zeros before its size": ("note", signed(note=LOG.signs(BODY.replace(SIZE, "\n024\n"))),
                                                 "not-a-checkpoint"),
    "a signed note with a size that no number holds": ("note", signed(note=LOG.signs(BODY.replace(
        SIZE, "\n9007199254740993\n"))), "not-a-checkpoint"),
    "a signed note whose root is short": ("note", signed(note=LOG.signs(f"{LOG.origin}\n3\nAAAA\n")),
                                          "not-a-checkpoint"),
    "a signed note of another log": ("note", signed(note=LOG.signs(BODY.replace(LOG.origin, "other.test/log"))),
                                     "other-log"),
    "a P-256 note whose signature has one bit flipped": (
        "note", signed(LOGS["P-256"], note=resigned(P, lambda s: bit(s, 20))), "bad-signature"),
    "a P-256 note whose DER has a byte more": (
        "note", signed(LOGS["P-256"], note=resigned(P, lambda s: s + b"\0")), "bad-signature"),
    "a key whose id is another's": ("note", signed(key=LOG.verifier.replace("+", "+0", 1)), "not-a-key"),
    "a key of another kind": ("note", signed(key=f"{LOG.origin}+00000000+{base64.b64encode(b'3' * 33).decode()}"),
                              "not-a-key"),
    "half a key": ("note", signed(key=LOG.verifier[:-8]), "not-a-key"),

    "a changed entry": ("inclusion", included(text=LOG.texts[5] + "!"), "other-root"),
    "another entry at this place": ("inclusion", included(text=LOG.texts[6]), "other-root"),
    "an entry at another place": ("inclusion", included(index=6), "other-root"),
    "a proof with one digit flipped": ("inclusion", included(proof=[
        flipped(LOG.inclusion(5, 21)[0]), *LOG.inclusion(5, 21)[1:]]), "other-root"),
    "a proof in another order": ("inclusion", included(proof=LOG.inclusion(5, 21)[::-1]), "other-root"),
    "a proof that lacks its last step": ("inclusion", included(proof=LOG.inclusion(5, 21)[:-1]), "proof-length"),
    "a proof with a step too many": ("inclusion", included(proof=[*LOG.inclusion(5, 21), "00" * 32]), "proof-length"),
    "another log's root": ("inclusion", included(root=FORK.root(21).hex()), "other-root"),
    "an entry behind the log's end": ("inclusion", included(index=21), "not-in-log"),
    "an entry before the log's beginning": ("inclusion", included(index=-1), "not-in-log"),
    "an entry between two places": ("inclusion", included(index=5.5), "not-in-log"),
    "a hash that is cut short": ("inclusion", included(proof=[LOG.inclusion(5, 21)[0][:-2]]), "not-a-hash"),
    "a hash that is none": ("inclusion", included(proof=["zz" * 32]), "not-a-hash"),

    "a log that went another way": ("consistency", continued(new_root=FORK.root(21).hex(), proof=FORK.consistency(
        13, 21)), "fork"),
    "a log that went another way, proven by the old one": ("consistency", continued(
        new_root=FORK.root(21).hex()), "fork"),
    "an older root that was changed": ("consistency", continued(old_root=flipped(LOG.root(13).hex())), "fork"),
    "two roots of one size": ("consistency", continued(old=21, proof=[], old_root=FORK.root(21).hex()), "fork"),
    "a log that became shorter": ("consistency", continued(old=22, proof=[]), "shorter"),
    "a continuation without its proof": ("consistency", continued(proof=[]), "proof-length"),
    "a continuation whose proof lacks a step": ("consistency", continued(proof=LOG.consistency(13, 21)[:-1]),
                                                "proof-length"),
    "a continuation with a step too many": ("consistency", continued(proof=[*LOG.consistency(13, 21), "00" * 32]),
                                            "proof-length"),
    "a continuation with one digit flipped": ("consistency", continued(proof=[
        *LOG.consistency(13, 21)[:-1], flipped(LOG.consistency(13, 21)[-1])]), "fork"),
    "an empty log with a root of its own": ("consistency", continued(old=0, proof=[]), "fork"),
}


@pytest.fixture(scope="module")
def computes(square: Town, chromium: Chromium) -> Iterator[Callable[[list[tuple[str, Given]]], list[str]]]:
    """What the page's own scripts say of each case: `holds`, or the code of a refusal."""
    with chromium.visits(DESKTOP, square.url) as visitor:
        visitor.opens("/console/sign-in")
        yield lambda cases: visitor.page.evaluate(COMPUTE, [{"verb": verb, "given": given} for verb, given in cases])


def test_every_proof_of_a_small_log_holds(computes: Callable[[list[tuple[str, Given]]], list[str]]) -> None:
    sizes = range(1, len(LOG.texts) + 1)
    cases: list[tuple[str, Given]] = [("inclusion", included(index, size)) for size in sizes for index in range(size)]
    cases += [("consistency", continued(old, new)) for new in sizes for old in range(1, new + 1)]
    empty = tree.EMPTY_ROOT.hex()
    cases += [("consistency", continued(0, 21, old_root=empty)), ("consistency", continued(
        0, 0, old_root=empty, new_root=empty))]
    found = computes(cases)
    assert [(verb, given) for (verb, given), said in zip(cases, found, strict=True) if said != "holds"] == []


@pytest.mark.parametrize("kind", LOGS)
def test_every_checkpoint_of_a_small_log_opens(
    kind: str, computes: Callable[[list[tuple[str, Given]]], list[str]]
) -> None:
    log = LOGS[kind]
    cases = [("note", {"note": log.note(size), "key": log.verifier}) for size in range(len(log.texts) + 1)]
    cosigned = log.note() + OTHER.note().split("\n\n")[1]
    cases.append(("note", {"note": cosigned, "key": log.verifier}))
    assert computes(cases) == ["holds"] * len(cases)


@pytest.mark.parametrize(("verb", "given", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(
    verb: str, given: Given, code: str, computes: Callable[[list[tuple[str, Given]]], list[str]]
) -> None:
    assert computes([(verb, given)]) == [code]


IN_PYTHON: dict[str, Callable[[Given], object]] = {
    "note": lambda given: note.open_note(
        given["note"], [note.parse_verifier(given["key"])], origin=LOG.origin),
    "inclusion": lambda given: tree.verify_inclusion(
        tree.leaf_hash(given["text"].encode()), given["index"], given["size"], _hashes(given["proof"]),
        bytes.fromhex(given["root"])),
    "consistency": lambda given: tree.verify_consistency(
        given["old"], bytes.fromhex(given["old_root"]), given["new"], bytes.fromhex(given["new_root"]),
        _hashes(given["proof"])),
}
ONLY_HERE = ("an entry between two places", "a signed note with a size that no number holds", "a hash that is none")


def _hashes(proof: list[str]) -> list[bytes]:
    return [bytes.fromhex(step) for step in proof]


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in ONLY_HERE])
def test_the_servers_own_reader_refuses_the_same(name: str) -> None:
    verb, given, _ = REFUSED[name]
    with pytest.raises(SigningError):
        IN_PYTHON[verb](given)
