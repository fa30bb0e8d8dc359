"""What is fuzzed: each thing of ours that parses what comes from outside, with what may come out of it.

    target = load("policy")
    word = target.run(data)             # a word for what became of it; whatever is raised is a finding

A target's module is imported by `load` alone, so that a campaign can have it (and what it parses with) counted.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.fuzz.havoc import havoc

Mutate = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Target:
    """`run` says in a word what became of an input: taken, or refused by one of our kinds. It raises nothing else."""

    run: Callable[[bytes], str]
    seeds: Callable[[], list[bytes]]
    mutate: Mutate = havoc      # one that knows the format, so that inputs get further than the first byte
    largest: int = 32_768       # bytes
    short: int = 500            # mutated inputs in a run of the tests


@dataclass(frozen=True)
class Place:
    """Where a target lives, and whose branches a campaign counts."""

    module: str
    counted: tuple[str, ...] = field(default=())


TARGETS: Final[Mapping[str, Place]] = {
    "pdf-intake": Place("tests.fuzz.pdf_intake", ("signing_service.pdf", "pyhanko.pdf_utils")),
    "signing": Place("tests.fuzz.signing", ("signing_service.pdf", "signing_service.der")),
    "cms": Place("tests.fuzz.cms", ("signing_service.pdf", "pyhanko.sign.validation", "pyhanko.sign.general",
                                    "pyhanko_certvalidator", "asn1crypto")),
    "timestamp-request": Place("tests.fuzz.timestamp_request", ("signing_service.front.tsa", "asn1crypto")),
    "timestamp-answer": Place("tests.fuzz.timestamp_answer", (
        "signing_service.front.authorities", "signing_service.timestamp_check", "signing_service.timestamp_reading",
        "signing_service.der", "signing_service.chains",
        "asn1crypto")),
    "csr": Place("tests.fuzz.csr", ("signing_service.cli.development_ca", "cryptography")),
    "certificates": Place("tests.fuzz.certificates", ("signing_service.certificates", "cryptography")),
    "policy": Place("tests.fuzz.policy", ("policies", "tomllib")),
    "wire": Place("tests.fuzz.wire", ("signing_service.wire", "signing_service.errors")),
    "framing": Place("tests.fuzz.framing", ("signing_service.wire", "asyncio.streams")),
    "log": Place("tests.fuzz.log", ("signing_service.tlog",)),
    "form": Place("tests.fuzz.form", ("signing_service.front.forms", "signing_service.front.limits",
                                      "signing_service.front.problems", "starlette.formparsers",
                                      "python_multipart", "fastapi.dependencies")),
}


def load(name: str) -> Target:
    """KeyError for a name that is not in the table."""
    target = importlib.import_module(TARGETS[name].module).TARGET
    assert isinstance(target, Target)
    return target
