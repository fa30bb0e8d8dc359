"""A log in memory that signs its own checkpoints: what a browser, or any other reader, is given to verify.

    log = SmallLog(Ed25519PrivateKey.generate())
    log.writes("a", "b", "c")
    log.note()                                # the checkpoint of everything
    log.inclusion(1), log.consistency(2, 3)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signing_service.tlog import note, tree

ORIGIN = "signing.test/log"


@dataclass
class SmallLog:
    """Entries are texts; a log that began as another one's copy and went its own way is a fork."""

    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    origin: str = ORIGIN
    texts: list[str] = field(default_factory=list)

    def writes(self, *texts: str) -> None:
        self.texts += texts

    def forked(self, *, at: int) -> SmallLog:
        """The same key and history up to there, and another entry after it."""
        return SmallLog(self.private, self.origin, [*self.texts[:at], "another history"])

    @property
    def key(self) -> note.CheckpointKey:
        public = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return note.CheckpointKey(
            "ed25519" if isinstance(self.private, ed25519.Ed25519PrivateKey) else "ecdsa-p256", public)

    @property
    def verifier(self) -> str:
        return note.verifier_string(self.origin, self.key)

    def sign(self, text: bytes) -> bytes:
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(text)
        return self.private.sign(text, ec.ECDSA(hashes.SHA256()))

    def root(self, size: int | None = None) -> bytes:
        return tree.root(map(_leaf, self.texts[:size]))

    def note(self, size: int | None = None) -> str:
        length = len(self.texts) if size is None else size
        body = note.Checkpoint(self.origin, length, self.root(length)).body()
        return note.sign_note(body, self.origin, self.key, self.sign)

    def signs(self, body: str) -> str:
        """Whatever it is: a note that is rightly signed and no checkpoint of this log."""
        return note.sign_note(body, self.origin, self.key, self.sign)

    def inclusion(self, index: int, size: int | None = None) -> list[str]:
        length = len(self.texts) if size is None else size
        return [step.hex() for step in tree.inclusion_proof(index, length, self._node_at())]

    def consistency(self, old: int, new: int | None = None) -> list[str]:
        length = len(self.texts) if new is None else new
        return [step.hex() for step in tree.consistency_proof(old, length, self._node_at())]

    def _node_at(self) -> Callable[[int, int], bytes]:
        return lambda level, index: tree.root(map(_leaf, self.texts[index << level: (index + 1) << level]))

    def answers(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        """As the server's own JSON: newest, consistency, inclusion (the entry's id is its place)."""
        size = len(self.texts)
        if path.endswith("/newest"):
            return {"id": "cp_1", "size": size, "note": self.note(), "keys": [self.verifier]}
        if path.endswith("/consistency"):
            return {"proof": self.consistency(int(asked["old"]), int(asked["new"]))}
        index = next(at for at, text in enumerate(self.texts) if f'"{asked["entry"]}"' in text)
        return {"index": index, "text": self.texts[index], "proof": self.inclusion(index, int(asked["size"]))}


def _leaf(text: str) -> bytes:
    return tree.leaf_hash(text.encode())
