"""Outside timestamp authorities: asked in order until one gives a token that holds (RFC 3161 3.4, over HTTP)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from asn1crypto import tsp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signing_service import timestamp_check
from signing_service.errors import SigningError, Unavailable
from signing_service.front.outbound import Client
from signing_service.timestamp_check import TOLERANCE, UNREADABLE, Demand, TimeStampResp, TokenRejected

log = logging.getLogger(__name__)

ANSWER_BYTES = 65_536     # a token with its chain takes 2 to 8 kB
DEADLINE = 10.0           # seconds for one authority, from the name to the last byte
QUESTION, ANSWER = "application/timestamp-query", "application/timestamp-reply"


@dataclass(frozen=True)
class OutsideToken:
    """A token that was checked, and the address it came from."""

    authority: str
    token: bytes


class Authorities:
    """The outside authorities of this installation. None configured: our own issues timestamps."""

    def __init__(
        self, client: Client, urls: tuple[str, ...], roots: tuple[bytes, ...], clock: Callable[[], datetime], *,
        policy: str | None = None, tolerance: timedelta = TOLERANCE, deadline: float = DEADLINE,
    ) -> None:
        self._client, self._urls, self._roots, self._clock = client, urls, roots, clock
        self._policy, self._tolerance, self._deadline = policy, tolerance, deadline

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The certificates (DER) that this installation trusts, read once at the start."""
        return self._roots

    @property
    def configured(self) -> bool:
        return bool(self._urls)

    async def timestamp(self, imprint: bytes, digest: str) -> OutsideToken:
        """A token over this imprint from the first authority that gives a good one. Unavailable when none does."""
        for url in self._urls:
            try:
                return OutsideToken(url, await self._ask(url, imprint, digest))
            except SigningError as error:  # refused, away, forbidden by the allow-list: the next one may do
                log.warning("no timestamp from %s: %s", url, error.message)
        raise Unavailable("No timestamp authority gave a usable timestamp.", code="timestamp-unavailable",
                          retry_after=30)

    async def _ask(self, url: str, imprint: bytes, digest: str) -> bytes:
        nonce = secrets.randbits(64)
        answer = await self._client.post(
            url, question(imprint, digest, nonce, self._policy), {"content-type": QUESTION, "accept": ANSWER},
            limit=ANSWER_BYTES, deadline=self._deadline,
        )
        if answer.status != 200:
            raise TokenRejected(f"The timestamp authority answered with status {answer.status}.")
        if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != ANSWER:
            raise TokenRejected("The timestamp authority's answer is not of the right media type.")
        token = granted(answer.body)
        demand = Demand(imprint, digest, self._roots, nonce=nonce, policy=self._policy, tolerance=self._tolerance)
        timestamp_check.check(token, demand, self._clock())
        return token


def question(imprint: bytes, digest: str, nonce: int, policy: str | None) -> bytes:
    """TimeStampReq (RFC 3161 2.4.1): always with a nonce, always asking for the certificate."""
    fields: dict[str, Any] = {
        "version": "v1", "nonce": nonce, "cert_req": True,
        "message_imprint": {"hash_algorithm": {"algorithm": digest}, "hashed_message": imprint},
    }
    if policy is not None:
        fields["req_policy"] = policy
    encoded: bytes = tsp.TimeStampReq(fields).dump()
    return encoded


def granted(body: bytes) -> bytes:
    """The token of a TimeStampResp (RFC 3161 2.4.2). Raises TokenRejected for a refusal or for what is no answer."""
    try:
        response = TimeStampResp.load(body, strict=True)
        status = response["status"]["status"].native
        token = response["time_stamp_token"]
        if status not in ("granted", "granted_with_mods"):
            raise TokenRejected(f"The timestamp authority refused: {status}.")
        encoded: bytes = token.dump() if token.native is not None else b""
    except UNREADABLE as error:
        raise TokenRejected("The timestamp authority's answer cannot be read.") from error
    if not encoded:
        raise TokenRejected("The timestamp authority gave no token.")
    return encoded


def trust_roots(folder: Path | None) -> tuple[bytes, ...]:
    """The certificates (DER) in a directory of PEM and DER files. ValueError names the file that is neither."""
    if folder is None:
        return ()
    if not folder.is_dir():
        raise ValueError(f"trust_roots {folder} is not a directory")
    found = [each for each in sorted(folder.iterdir()) if each.suffix.lower() in {".pem", ".crt", ".cer", ".der"}]
    return tuple(dict.fromkeys(der for each in found for der in _read(each)))


def _read(path: Path) -> list[bytes]:
    content = path.read_bytes()
    try:
        if b"-----BEGIN" in content:
            return [each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(content)]
        return [x509.load_der_x509_certificate(content).public_bytes(Encoding.DER)]
    except ValueError as error:
        raise ValueError(f"{path} is not a certificate in PEM or DER") from error
