"""RFC 3161 over HTTP (3.4): `POST /tsa`. The signer makes the tokens; here requests are parsed and refusals worded.

Whoever asks properly gets a TimeStampResp, also when the answer is no. Only what is not a timestamp request at all
(another media type, no right to ask) gets an answer of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asn1crypto import cms, tsp
from fastapi import APIRouter, Request
from starlette.responses import Response

from hsm.algorithms import Digest
from signing_service import errors
from signing_service.errors import Invalid, SigningError, TooLarge, Unauthenticated, Unsupported
from signing_service.front.authorities import ANSWER, QUESTION
from signing_service.front.callers import Guarded
from signing_service.front.rest import Held
from signing_service.front.runtime import Runtime
from signing_service.front.schemas import problems
from signing_service.timestamp_check import UNREADABLE, TimeStampResp
from signing_service.wire.messages import IssueTimestamp, TimestampIssued

LARGEST = 16_384      # bytes; an ordinary request has 60, one with every option some hundreds
LONGEST_NONCE = 80    # decimal digits; 64 bits have 20, and 256 bits 78

router = APIRouter(route_class=Guarded, tags=["timestamps"])

# RFC 3161 2.4.2, PKIFailureInfo: the dialect's one table from kinds; codes that mean something narrower come first.
FAILURES: Mapping[type[SigningError], str] = {
    errors.Invalid: "bad_data_format",
    errors.TooLarge: "bad_data_format",
    errors.Unsupported: "bad_alg",
    errors.Denied: "unaccepted_policy",
    errors.Unavailable: "system_failure",
    errors.TooMany: "system_failure",
    errors.WrongState: "system_failure",
    errors.NotFound: "system_failure",
    errors.NotAuthorized: "bad_request",
    errors.Unauthenticated: "bad_request",
}
NARROWER = {
    "bad-request": "bad_request",
    "bad-imprint": "bad_data_format",
    "unaccepted-policy": "unaccepted_policy",
    "unaccepted-extension": "unaccepted_extensions",
    "clock": "time_not_available",
}


@router.post(
    "/tsa", summary="An RFC 3161 timestamp", response_class=Response,
    description="`application/timestamp-query` in, `application/timestamp-reply` out; refusals are in the reply.",
    responses={200: {"content": {ANSWER: {"schema": {"type": "string", "format": "binary"}}}}, **problems(413, 415)},
    openapi_extra={"requestBody": {"required": True, "content": {
        QUESTION: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def timestamp(request: Request, rt: Held) -> Response:
    client_id = _right_to_ask(request, rt)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != QUESTION:
        raise Unsupported(f"The body must be {QUESTION}.", code="media-type")
    try:
        asked = parsed(await _body(request), client_id)
        issued = await rt.signer.ask(asked, TimestampIssued)
    except SigningError as error:
        return Response(refusal(error), media_type=ANSWER)
    return Response(granted(issued.token), media_type=ANSWER)


def _right_to_ask(request: Request, rt: Runtime) -> str | None:
    """The client's id, if a client is asking. Who has no token may ask where the settings say so."""
    caller = request.scope.get("state", {}).get("caller")
    if caller is None and not rt.settings.tsa_public:
        raise Unauthenticated("Timestamps are for registered clients: Authorization: Bearer …", code="token-missing")
    return caller.client_id if caller is not None else None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            raise TooLarge(f"A timestamp request has at most {LARGEST} bytes.")
    return bytes(body)


def parsed(body: bytes, client_id: str | None) -> IssueTimestamp:
    """A TimeStampReq (RFC 3161 2.4.1), read whole. Raises Invalid or Unsupported with the code of the failure."""
    try:
        request = tsp.TimeStampReq.load(body, strict=True)
        # asn1crypto parses what it is asked for, so everything is asked for before anything is believed.
        version, imprint, nonce = request["version"].native, request["message_imprint"], request["nonce"].native
        digest, hashed = _digest(imprint["hash_algorithm"]), imprint["hashed_message"].native
        policy = request["req_policy"].dotted if request["req_policy"].native is not None else None
        with_certificate, extensions = bool(request["cert_req"].native), request["extensions"].native
    except UNREADABLE as error:
        raise Invalid("This is not a timestamp request.") from error
    if version != "v1":
        raise Invalid("Only version 1 is known.", code="bad-request")
    if extensions:
        raise Unsupported("No extensions are supported.", code="unaccepted-extension")
    if len(hashed) != digest.size:
        raise Invalid("The imprint's length does not fit its algorithm.", code="bad-imprint")
    if policy is not None and len(policy) > 100:
        raise Unsupported("This authority does not issue timestamps under that policy.", code="unaccepted-policy")
    return IssueTimestamp(
        imprint=hashed, digest=digest.value, nonce=_nonce(nonce), policy=policy, with_certificate=with_certificate,
        client_id=client_id,
    )


def _digest(algorithm: Any) -> Digest:
    """SHA-2 only: an imprint made with SHA-1 may be of two documents."""
    name = algorithm["algorithm"].native
    if name not in set(Digest) or algorithm["parameters"].native is not None:
        raise Unsupported("The imprint must be made with SHA-256, SHA-384 or SHA-512.", code="bad-alg")
    return Digest(name)


def _nonce(number: int | None) -> str | None:
    if number is None:
        return None
    text = str(number) if 0 <= number.bit_length() <= 4 * LONGEST_NONCE else ""
    if number < 0 or not 1 <= len(text) <= LONGEST_NONCE:
        raise Invalid("The nonce is negative or too long.", code="bad-request")
    return text


def granted(token: bytes) -> bytes:
    encoded: bytes = TimeStampResp({
        "status": {"status": "granted"}, "time_stamp_token": cms.ContentInfo.load(token),
    }).dump()
    return encoded


def refusal(error: SigningError) -> bytes:
    """The answer no, with its reason for programs and for people. KeyError for a kind that is not in the table."""
    failure = NARROWER.get(error.code) or FAILURES[_kind(error)]
    encoded: bytes = TimeStampResp({"status": {
        "status": "rejection", "status_string": [error.message], "fail_info": {failure},
    }}).dump()
    return encoded


def _kind(error: SigningError) -> type[SigningError]:
    """The nearest kind that has a line: packages have kinds of their own below ours."""
    return next(kind for kind in type(error).__mro__ if kind in FAILURES)
