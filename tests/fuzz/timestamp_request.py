"""What is posted to `/tsa`: a question for the signer, or a refusal that can be told as RFC 3161 2.4.2 words it."""

from __future__ import annotations

from typing import Final

import msgspec
from asn1crypto import tsp

from signing_service.errors import Invalid
from signing_service.front.tsa import FAILURES, LARGEST, NARROWER, parsed, refusal
from signing_service.timestamp_check import TimeStampResp
from signing_service.wire.messages import IssueTimestamp, SignRequest, encoder
from tests.fuzz import der
from tests.fuzz.target import Target

DECODER: Final = msgspec.msgpack.Decoder(SignRequest)
SIZES: Final = {"sha256": 32, "sha384": 48, "sha512": 64}


def run(data: bytes) -> str:
    try:
        asked = parsed(data, None)
    except Invalid as refused:
        answer = TimeStampResp.load(refusal(refused), strict=True)["status"]
        assert answer["status"].native == "rejection"
        assert answer["fail_info"].native <= {*FAILURES.values(), *NARROWER.values()}
        return refused.code
    assert len(asked.imprint) == SIZES[asked.digest]
    assert _over_the_wire(asked) == asked  # or the signer would refuse what we let through
    return "asked"


def _over_the_wire(asked: IssueTimestamp) -> object:
    return DECODER.decode(encoder.encode(asked))


def seeds() -> list[bytes]:
    return [
        tsp.TimeStampReq({
            "version": "v1", "cert_req": True,
            "message_imprint": {"hash_algorithm": {"algorithm": name}, "hashed_message": bytes(size)}, **more}).dump()
        for name, size in {**SIZES, "sha1": 20, "sha224": 28}.items()
        for more in ({}, {"nonce": 2**64 - 1, "req_policy": "1.3.6.1.4.1.99999.1"},
                     {"nonce": 2**300}, {"extensions": [{"extn_id": "1.2.3", "critical": True, "extn_value": b""}]})
    ]


TARGET: Final = Target(run, seeds, der.mutate, largest=LARGEST)
