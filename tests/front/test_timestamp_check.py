"""Which timestamp tokens are believed."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from signing_service import chains
from signing_service.timestamp_check import Demand, TokenRejected, check
from tests.support.authority import (
    POLICY,
    TestCa,
    TestTsa,
    der,
    ec_key,
    response,
    rsa_key,
    timestamping_extensions,
)

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
IMPRINT = hashlib.sha256(b"a signature value").digest()
CA = TestCa.fresh()
TSA = CA.timestamping()
DEMAND = Demand(IMPRINT, "sha256", (CA.root,), nonce=77, policy=POLICY)


def good(tsa: TestTsa = TSA, **changes: object) -> bytes:
    return tsa.token(IMPRINT, **{"nonce": 77, "time": NOW} | changes)  # type: ignore[arg-type]  # named like its parameters


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "an elliptic curve authority": good,
    "an RSA authority": lambda: good(CA.timestamping(rsa_key())),
    "an RSA-PSS authority": lambda: good(CA.timestamping(rsa_key()), pss=True),
    "SHA-512 under the signature": lambda: good(signed_with="sha512"),
    "the old ESSCertID": lambda: good(ess="v1"),
    "a clock half a minute off": lambda: good(time=NOW + timedelta(seconds=30)),
    "without the root among its certificates": lambda: good(certificates=(TSA.certificate,)),
    "through an intermediate": lambda: _below(CA.intermediate()),
}


def _below(ca: TestCa) -> bytes:
    tsa = ca.timestamping()
    return good(tsa, certificates=(tsa.certificate, der(ca.certificate)))


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_good_token_is_believed(make: Callable[[], bytes]) -> None:
    proven = check(make(), DEMAND, NOW)
    assert proven.policy == POLICY
    assert abs(proven.time - NOW) <= timedelta(seconds=31)


STRANGER = TestCa.fresh("Nobody")
IMPOSTOR = TestCa.fresh("Test Root")  # the same name, another key
OTHER = CA.timestamping()
TIME_AND_MORE = (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CLIENT_AUTH)

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "another imprint": (lambda: good(changed_imprint=bytes(32)), "imprint"),
    "a SHA-1 imprint": (lambda: TSA.token(bytes(20), digest="sha1", nonce=77), "hash function"),
    "another nonce": (lambda: good(nonce=78), "nonce"),
    "no nonce": (lambda: good(nonce=None), "nonce"),
    "another policy": (lambda: good(policy="1.2.3.4"), "policy"),
    "a time of last week": (lambda: good(time=NOW - 7 * DAY), "time"),
    "a time of tomorrow": (lambda: good(time=NOW + DAY), "time"),
    "a critical extension": (lambda: good(critical_extension=True), "critical"),
    "a wrong signature": (lambda: good(spoil_signature=True), "signature"),
    "content changed after signing": (lambda: good(spoil_content=True), "time|content"),
    "another signed content type": (lambda: good(signed_type="data"), "content type"),
    "no certificate": (lambda: good(certificates=()), "certificate"),
    "only somebody else's certificate": (lambda: good(certificates=(OTHER.certificate,)), "certificate"),
    "ESSCertID of another certificate": (lambda: good(ess_of=OTHER.certificate), "ESSCertID"),
    "the old ESSCertID of another certificate": (lambda: good(ess="v1", ess_of=OTHER.certificate), "ESSCertID"),
    "no ESSCertID": (lambda: good(ess="none"), "ESSCertID"),
    "two signatures": (lambda: good(signers=2), "one signature|cannot be read"),
    "SHA-1 under the signature": (lambda: good(CA.timestamping(rsa_key()), signed_with="sha1"), "hash function"),
    "an RSA key of 1024 bits": (lambda: good(CA.timestamping(rsa_key(bits=1024))), "too small"),
    "an unknown root": (lambda: good(STRANGER.timestamping()), "root"),
    "a root that only has the right name": (lambda: good(IMPOSTOR.timestamping()), "root"),
    "no extended key usage": (lambda: good(CA.timestamping(extensions=[])), "timestamps alone"),
    "extended key usage not critical": (
        lambda: good(CA.timestamping(extensions=timestamping_extensions(critical=False))), "timestamps alone"),
    "timestamps among other purposes": (
        lambda: good(CA.timestamping(extensions=timestamping_extensions(TIME_AND_MORE))), "timestamps alone"),
    "a certificate for something else": (
        lambda: good(CA.timestamping(extensions=timestamping_extensions((ExtendedKeyUsageOID.CODE_SIGNING,)))),
        "timestamps alone"),
    "an expired certificate": (lambda: good(CA.timestamping(begins=NOW - 3 * DAY, ends=NOW - 2 * DAY)), "not valid"),
    "a certificate that begins tomorrow": (lambda: good(CA.timestamping(begins=NOW + DAY)), "not valid"),
    "an expired intermediate": (
        lambda: _below(CA.intermediate(begins=NOW - 3 * DAY, ends=NOW - 2 * DAY)), "root"),
    "an intermediate that is no authority": (
        lambda: _below(CA.intermediate(extensions=timestamping_extensions())), "root"),
    "a path longer than allowed": (lambda: _deep(), "root"),
    "a certificate of a version that there is not": (lambda: _of_version(83), "cannot be read"),
    "bytes after the token": (lambda: good() + b"\0", "cannot be read"),
    "nothing": (lambda: b"", "cannot be read"),
    "a web page": (lambda: b"<html>", "cannot be read"),
    "a truncated token": (lambda: good()[:-20], "cannot be read"),
}


def _of_version(number: int) -> bytes:
    """RFC 5280 4.1.2.1 knows three, the last of which is written as 2."""
    changed = TSA.certificate.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + bytes([number]), 1)
    return good(certificates=(changed, CA.root), ess_of=changed)


def _deep() -> bytes:
    """The intermediate may have no authority below it, and has one."""
    upper = CA.intermediate()
    lower = upper.intermediate("Lower")
    tsa = lower.timestamping()
    return good(tsa, certificates=(tsa.certificate, der(lower.certificate), der(upper.certificate)))


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_token_that_lies_is_refused(make: Callable[[], bytes], why: str) -> None:
    with pytest.raises(TokenRejected, match=why):
        check(make(), DEMAND, NOW)


def test_our_own_authority_is_known_by_its_very_certificate() -> None:
    pinned = Demand(IMPRINT, "sha256", (), pinned=(TSA.certificate,), nonce=77)
    assert check(good(), pinned, NOW).serial
    with pytest.raises(TokenRejected, match="root"):
        check(good(OTHER), pinned, NOW)


def test_without_roots_and_pins_nothing_is_believed() -> None:
    with pytest.raises(TokenRejected, match="root"):
        check(good(), Demand(IMPRINT, "sha256", (), nonce=77), NOW)


@pytest.mark.uncounted
def test_no_damaged_token_is_believed_and_none_raises_anything_else() -> None:
    """Every byte of a token either matters (refused) or cannot be reached by the checks because nobody signs it."""
    token, draw = good(certificates=(TSA.certificate,)), random.Random(3161)
    survivors = 0
    for _ in range(1500):
        at = draw.randrange(len(token))
        damaged = token[:at] + bytes([token[at] ^ (1 << draw.randrange(8))]) + token[at + 1:]
        try:
            proven = check(damaged, DEMAND, NOW)
        except TokenRejected:
            continue
        survivors += 1
        assert (proven.policy, proven.serial) == (POLICY, "1267")  # what it proves is what was signed
    assert survivors < 60


def test_the_tokens_of_the_test_authority_are_real(tmp_path: Path) -> None:
    """openssl agrees, so the refusals above are not about a malformed original."""
    (tmp_path / "answer").write_bytes(response(good()))
    (tmp_path / "root.pem").write_bytes(CA.certificate.public_bytes(Encoding.PEM))
    done = subprocess.run(
        ["openssl", "ts", "-verify", "-in", "answer", "-digest", IMPRINT.hex(), "-CAfile", "root.pem"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )
    assert "Verification: OK" in done.stdout + done.stderr


def test_a_token_full_of_look_alikes_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates that could all have issued one another must not multiply the work."""
    key, tried = ec_key(), []
    twins = [TestCa(CA.issue("Twin", key, _ca()), key) for _ in range(16)]
    tsa = twins[0].timestamping()
    others = [der(twin.issue("Twin", key, _ca())) for twin in twins]
    has_signed = chains._has_signed
    monkeypatch.setattr(chains, "_has_signed", lambda *pair: tried.append(pair) or has_signed(*pair))
    with pytest.raises(TokenRejected, match="root"):
        check(good(tsa, certificates=(tsa.certificate, *others)),
              Demand(IMPRINT, "sha256", (STRANGER.root,), nonce=77), NOW)
    assert 16 <= len(tried) <= 16 * 16


def _ca() -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.BasicConstraints(ca=True, path_length=None), True)]
