"""Notes and checkpoints, with published notes of other people's logs as the judge of the format."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from signing_service.errors import Invalid
from signing_service.tlog import note
from signing_service.tlog.note import Checkpoint, CheckpointKey, KeyAlgorithm, NoteInvalid, Verifier

NAME = "log.example/agency"
CHECKPOINT = Checkpoint(NAME, 20_852_163, bytes(range(32)))

# Published with Go's sumdb/note and with the ECDSA verifier of transparency-dev/formats (Sigstore's public log).
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
REKOR_KEY = (
    "rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0hrZLOC96l"
    "+smGNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc="
)
REKOR_NOTE = (
    "Rekor\n798034\nf+7CoKgXKE/tNys9TTXcr/ad6U/K3xvznmzew9y6SP0=\n\n— rekor.sigstore.dev "
    "wNI9ajBEAiARInWIWyCdyG27CO6LPnPekyw20qO0YJfoaPaowGp/XgIgc+qEHS3+GKVClgqq20uDLet7MCoTURUCRdxwWBHHufk=\n"
)


class Signer:
    """A key pair of each kind, as the device would hold it."""

    def __init__(self, algorithm: KeyAlgorithm) -> None:
        if algorithm == "ed25519":
            private = ed25519.Ed25519PrivateKey.generate()
            self.sign: Callable[[bytes], bytes] = private.sign
            public: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey = private.public_key()
        else:
            curve = ec.generate_private_key(ec.SECP256R1())
            self.sign = lambda text: curve.sign(text, ec.ECDSA(hashes.SHA256()))
            public = curve.public_key()
        self.key = CheckpointKey(algorithm, spki(public))
        self.verifier = Verifier(NAME, self.key)

    def note(self, body: str = CHECKPOINT.body(), name: str = NAME) -> str:
        return note.sign_note(body, name, self.key, self.sign)


def spki(public: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


ALGORITHMS: tuple[KeyAlgorithm, ...] = ("ed25519", "ecdsa-p256")
SIGNERS = {algorithm: Signer(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture(params=ALGORITHMS)
def signer(request: pytest.FixtureRequest) -> Signer:
    return SIGNERS[request.param]


def test_a_signed_checkpoint_comes_back_with_its_signer(signer: Signer) -> None:
    opened = note.open_note(signer.note(), [signer.verifier])
    assert opened == CHECKPOINT
    assert opened.signed_by == (NAME,)


def test_the_body_is_three_lines() -> None:
    root = base64.b64encode(bytes(range(32))).decode()
    assert CHECKPOINT.body() == f"{NAME}\n20852163\n{root}\n"


def test_a_published_ecdsa_note_opens_with_its_published_key() -> None:
    opened = note.open_note(REKOR_NOTE, [note.parse_verifier(REKOR_KEY)])
    assert (opened.origin, opened.size, opened.signed_by) == ("Rekor", 798_034, ("rekor.sigstore.dev",))


@pytest.mark.parametrize("text", [GO_KEY, REKOR_KEY])
def test_published_verifier_keys_round_trip(text: str) -> None:
    verifier = note.parse_verifier(text)
    assert note.verifier_string(verifier.name, verifier.key) == text


def test_the_published_ed25519_signature_verifies() -> None:
    """Its text is no checkpoint, so opening gets exactly as far as the body."""
    text = (
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    with pytest.raises(NoteInvalid, match="three lines"):
        note.open_note(text, [note.parse_verifier(GO_KEY)])
    with pytest.raises(NoteInvalid, match="does not belong to this text"):
        note.open_note(text.replace("answer", "Answer"), [note.parse_verifier(GO_KEY)])


def test_verifier_keys_round_trip(signer: Signer) -> None:
    assert note.parse_verifier(note.verifier_string(NAME, signer.key)) == signer.verifier


def test_another_key_of_the_same_name_does_not_open_it(signer: Signer) -> None:
    other = Signer(signer.key.algorithm)
    with pytest.raises(NoteInvalid, match="none of the keys"):
        note.open_note(signer.note(), [other.verifier])


def test_the_same_key_under_another_name_does_not_open_it(signer: Signer) -> None:
    with pytest.raises(NoteInvalid, match="none of the keys"):
        note.open_note(signer.note(), [Verifier("other.example/log", signer.key)])


def test_no_key_opens_nothing(signer: Signer) -> None:
    with pytest.raises(NoteInvalid, match="no key was given"):
        note.open_note(signer.note(), [])


def test_lines_of_unknown_keys_are_ignored_and_counted_as_nothing(signer: Signer) -> None:
    witness = Signer("ed25519")
    both = signer.note() + witness.note(name="witness.example").rsplit("\n\n", 1)[1]
    assert note.open_note(both, [signer.verifier]).signed_by == (NAME,)
    opened = note.open_note(both, [signer.verifier, Verifier("witness.example", witness.key)])
    assert opened.signed_by == (NAME, "witness.example")
    with pytest.raises(NoteInvalid, match="none of the keys"):
        note.open_note(both, [Signer("ed25519").verifier])


def test_a_checkpoint_of_another_log_of_the_same_key_is_refused_where_the_origin_is_asked_for() -> None:
    """The name beside an ECDSA signature is not signed: here it is replaced, and the signature still fits."""
    signer = SIGNERS["ecdsa-p256"]
    other = signer.note(body=Checkpoint("log.example/test", 3, bytes(32)).body(), name="log.example/test")
    renamed = other.replace("— log.example/test", f"— {NAME}")
    assert note.open_note(renamed, [signer.verifier]).origin == "log.example/test"
    with pytest.raises(NoteInvalid, match="not of log"):
        note.open_note(renamed, [signer.verifier], origin=NAME)


def test_one_bad_line_of_a_known_key_rejects_the_note_even_beside_a_good_one(signer: Signer) -> None:
    good = signer.note()
    bad_line = signer.note(body=Checkpoint(NAME, 1, bytes(32)).body()).rsplit("\n\n", 1)[1]
    with pytest.raises(NoteInvalid, match="does not belong"):
        note.open_note(good + bad_line, [signer.verifier])


@given(st.sampled_from(ALGORITHMS), st.integers(0, 10_000), st.integers(1, 255))
@settings(deadline=None, max_examples=150)
def test_no_changed_byte_gets_through(algorithm: KeyAlgorithm, at: int, change: int) -> None:
    signer = SIGNERS[algorithm]
    whole = bytearray(signer.note().encode())
    whole[at % len(whole)] ^= change
    with pytest.raises(NoteInvalid):
        note.open_note(whole.decode(errors="surrogateescape"), [signer.verifier])


def signed(body: str) -> str:
    return SIGNERS["ed25519"].note(body=body)


ROOT = base64.b64encode(bytes(32)).decode()
NOT_CHECKPOINTS = {
    "an extension line, which nobody could check": f"{NAME}\n3\n{ROOT}\nextra\n",
    "an empty line inside": f"{NAME}\n\n3\n{ROOT}\n",
    "a missing root": f"{NAME}\n3\n",
    "a size with a leading zero": f"{NAME}\n03\n{ROOT}\n",
    "a negative size": f"{NAME}\n-3\n{ROOT}\n",
    "a size in full-width digits": f"{NAME}\n３\n{ROOT}\n",
    "a size with a blank": f"{NAME}\n3 \n{ROOT}\n",
    "an enormous size": f"{NAME}\n{'9' * 5_000}\n{ROOT}\n",
    "a root that is too short": f"{NAME}\n3\n{base64.b64encode(bytes(31)).decode()}\n",
    "a root that is not base64": f"{NAME}\n3\n{'*' * 44}\n",
    "a root in a second spelling of base64": f"{NAME}\n3\n{ROOT[:-2]}B=\n",
    "an empty origin": f"\n3\n{ROOT}\n",
}


@pytest.mark.parametrize("body", NOT_CHECKPOINTS.values(), ids=list(NOT_CHECKPOINTS))
def test_a_signed_text_is_no_checkpoint_with(body: str) -> None:
    text = signed(body)
    with pytest.raises(NoteInvalid):
        note.open_note(text, [SIGNERS["ed25519"].verifier])
    with pytest.raises(NoteInvalid):
        note.read_unverified(text)


GOOD = SIGNERS["ed25519"].note()
BODY, LINE = GOOD.rsplit("\n\n", 1)
NOT_NOTES = {
    "nothing": "",
    "only a text": CHECKPOINT.body(),
    "no blank line": GOOD.replace("\n\n", "\n"),
    "no signature": BODY + "\n\n",
    "no newline at the end": GOOD[:-1],
    "a line after the signatures": GOOD + "thanks\n",
    "a blank line after the signatures": GOOD + "\n",
    "carriage returns": GOOD.replace("\n", "\r\n"),
    "a hyphen for the dash": GOOD.replace("—", "-"),
    "two blanks": GOOD.replace("— ", "—  "),
    "a name with a plus": GOOD.replace(f"— {NAME}", "— a+b"),
    "a signature that is only a key id": f"{BODY}\n\n— {NAME} {base64.b64encode(bytes(4)).decode()}\n",
    "a signature that is not base64": f"{BODY}\n\n— {NAME} abc\n",
    "65 signatures": GOOD + LINE * 64,
    "a megabyte": "x" * 1_000_000 + GOOD,
    "a control character": GOOD.replace("agency", "agency\x1b[2J"),
    "half a surrogate pair": GOOD.replace("agency", "agency\ud800"),
}


@pytest.mark.parametrize("text", NOT_NOTES.values(), ids=list(NOT_NOTES))
def test_this_is_no_note(text: str) -> None:
    with pytest.raises(NoteInvalid):
        note.open_note(text, [SIGNERS["ed25519"].verifier])
    with pytest.raises(NoteInvalid):
        note.read_unverified(text)


def test_reading_without_a_key_vouches_for_nobody(signer: Signer) -> None:
    claimed = note.read_unverified(signer.note())
    assert claimed == CHECKPOINT
    assert claimed.signed_by == ()


@pytest.mark.parametrize("damaged", [bytes(64), b"", b"\x30\x00"])
def test_a_damaged_signature_of_the_device_does_not_leave(signer: Signer, damaged: bytes) -> None:
    with pytest.raises(NoteInvalid, match="does not verify"):
        note.sign_note(CHECKPOINT.body(), NAME, signer.key, lambda _text: damaged)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "tab\tbed", "thin\u2009space", "line\n", "bell\x07"])
def test_a_name_that_could_be_read_in_two_ways_signs_nothing(signer: Signer, name: str) -> None:
    with pytest.raises(NoteInvalid, match="key name"):
        signer.note(name=name)
    with pytest.raises(NoteInvalid, match="key name"):
        note.verifier_string(name, signer.key)


@pytest.mark.parametrize("body", ["no newline", "bell\x07\n"])
def test_a_text_that_could_not_be_opened_again_is_not_signed(signer: Signer, body: str) -> None:
    with pytest.raises(NoteInvalid):
        signer.note(body=body)


WRONG_VERIFIERS = {
    "nothing": "",
    "a name only": NAME,
    "another key id": GO_KEY.replace("c74f20a3", "c74f20a4"),
    "another name": GO_KEY.replace("Peter", "Petra"),
    "a key that is too short": "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKg==",
    "an unknown type": "PeterNeumann+c74f20a3+" + base64.b64encode(bytes([4]) * 33).decode(),
    "a name that is no UTF-8": GO_KEY.replace("Peter", "Pet\udce9r"),
    "no base64": "PeterNeumann+c74f20a3+***",
    "an upper-case key id": GO_KEY.replace("c74f20a3", "C74F20A3"),
}


@pytest.mark.parametrize("text", WRONG_VERIFIERS.values(), ids=list(WRONG_VERIFIERS))
def test_a_verifier_string_is_refused_for(text: str) -> None:
    with pytest.raises(NoteInvalid):
        note.parse_verifier(text)


def test_a_checkpoint_key_is_what_it_says() -> None:
    p384 = spki(ec.generate_private_key(ec.SECP384R1()).public_key())
    with pytest.raises(Invalid, match="P-256"):
        CheckpointKey("ecdsa-p256", p384)
    with pytest.raises(Invalid, match="not for ed25519"):
        CheckpointKey("ed25519", SIGNERS["ecdsa-p256"].key.public_key)
    with pytest.raises(Invalid, match="SPKI"):
        CheckpointKey("ed25519", b"garbage")


@pytest.mark.parametrize(("origin", "size", "root"), [
    ("", 1, bytes(32)), ("two\nlines", 1, bytes(32)), ("x", -1, bytes(32)), ("x", 1, bytes(31)),
])  # fmt: skip
def test_a_checkpoint_that_could_not_be_written_cannot_be_made(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(Invalid):
        Checkpoint(origin, size, root)
