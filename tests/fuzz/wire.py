"""What crosses between the halves: a message exactly as it is sent, or what msgspec calls wrong."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import msgspec

from signing_service.errors import SigningError
from signing_service.wire import messages as m
from signing_service.wire.client import MALFORMED
from signing_service.wire.failures import from_failure
from tests.fuzz import trees
from tests.fuzz.havoc import havoc
from tests.fuzz.target import Target

DECODERS: Final[tuple[Any, ...]] = tuple(
    msgspec.msgpack.Decoder(kind) for kind in (m.SignRequest, m.AdminRequest, m.Answer))


def run(data: bytes) -> str:
    words = [_decoded(decoder, data) for decoder in DECODERS]
    return " ".join(dict.fromkeys(words))


def _decoded(decoder: Any, data: bytes) -> str:
    try:
        message = decoder.decode(data)
    except MALFORMED:
        return "refused"
    assert decoder.decode(m.encoder.encode(message)) == message
    if isinstance(message, m.Failure):
        assert isinstance(from_failure(message), SigningError)
    return type(message).__name__


def mutate(data: bytes, rng: Random) -> bytes:
    try:
        tree = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return havoc(data, rng)
    if rng.random() < 0.2:
        return havoc(data, rng)
    try:
        return m.encoder.encode(trees.mutate(tree, rng))
    except (OverflowError, UnicodeEncodeError, TypeError):  # of numbers that MessagePack has no room for
        return havoc(data, rng)


def seeds() -> list[bytes]:
    return [m.encoder.encode(each) for each in (*_asked(), *_answered())]


def _asked() -> list[m.Message]:
    some, digest = "0" * 32, "a" * 64
    line = m.Line(f"sr_{some}", f"cr_{some}", digest, digest, bytes(32), "ecdsa-sha256")
    phone = m.PhoneProof(f"ph_{some}", digest)
    commands: tuple[m.Command, ...] = (
        m.AddOperator("Lan"), m.SetOperatorState(f"op_{some}", "suspended"), m.AddSignatory("An", "H26.1", "chairman"),
        m.SetSignatoryState(f"sg_{some}", "active"), m.EnrolCode(f"sg_{some}"), m.Unlock(f"sg_{some}"),
        m.AddCredential("personal", "H26.1", "p-256"), m.SetCredentialState(f"cr_{some}", "active"),
        m.ActivatePolicy("default", "format = 1"), m.IssueTicket(f"sg_{some}", 24, False),
        m.RetirePhone(f"ph_{some}"), m.DestroyKey(f"cr_{some}"), m.RequestCertificate(f"cr_{some}", (("CN", "An"),)),
        m.ImportCertificate(f"cr_{some}", b"0", (b"0",), b"0", "2026-01-01T00:00:00+00:00",
                            "2027-01-01T00:00:00+00:00"),
        m.AddAuditor("Lan", ("*",)),
    )
    return [
        m.Confirm(f"cl_{some}", f"sg_{some}", "123456", "client", (line, line)),
        m.Confirm(None, f"sg_{some}", "123456", "phone", (line,), phone),
        m.IssueTimestamp(bytes(32), "sha256", "77", "1.2.3", True, f"sr_{some}", f"cl_{some}"), m.Health(),
        m.RedeemTicket("A" * 43, digest, digest, "phone"), m.CompletePhone(phone, "123456"),
        m.CompleteAccount("A" * 43, digest, "123456"), m.ProveCode(f"au_{some}", "123456"),
        m.SuspendOneself(phone, "not-me", f"sr_{some}"), m.Stop("ABCDE-ABCDE-ABCDE-ABCDE"),
        m.DeskAct(f"op_{some}", "123456", (m.Unlock(f"sg_{some}"),)), m.Act(f"op_{some}", "123456", commands),
        m.Bootstrap("Lan"), m.CompleteEnrolment(f"op_{some}", "123456"),
    ]


def _answered() -> list[m.Message]:
    some = "0" * 32
    return [
        m.Confirmed(f"cf_{some}", "123456", (m.LineOutcome(f"sr_{some}", "done"),)), m.TimestampIssued(b"0", "1"),
        m.Done((m.Result("x", "otpauth://", "data", "no", "code"),)),
        m.HealthReport("si", (m.Condition("device", True, ""),), "x 1"), m.TicketRedeemed("x", "An", "ph", "uri"),
        m.PhoneReady("ABCDE"), m.Proven("au"), m.Suspended(("cr",)),
        *(m.Failure(kind, "code", "words", 5, 3, (("rule", "why"),)) for kind in ("Denied", "NotAuthorized", "Odd")),
    ]


TARGET: Final = Target(run, seeds, mutate, largest=65_536)
