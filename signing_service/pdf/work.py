"""What a pdf worker is asked, what it answers, and how it says no. Pure data, no PDF library.

Everything here travels between processes as MessagePack. Documents travel as files: an order names paths, never
content. Digests of files are hexadecimal SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Literal

from hsm.algorithms import Algorithm


class Refused(Exception):
    """This document (or order) is refused. `code` is for programs; the message is for the client and safe to show."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Limits:
    """What one document may cost. The defaults fit administrative documents with a wide margin."""

    pages: int = 5_000
    objects: int = 50_000           # objects the screening walks; the largest form met in practice has 9,000
    depth: int = 64                 # of page tree, form tree, outlines and chains of actions
    revisions: int = 100            # 50,000 revisions in a small file cost minutes in any reader
    earlier_signatures: int = 32    # each one is a digest over the whole file
    refuse_embedded_files: bool = False
    memory_bytes: int = 1 << 30     # address space of one worker
    output_bytes: int = 1 << 30     # largest file a worker may write
    look_cpu_seconds: int = 3       # an ordinary document takes 0.02 s
    look_wall_seconds: float = 10.0
    aside_wall_seconds: float = 60.0    # of what gives way to all others (`pdf.aside`)
    draw_cpu_seconds: int = 3       # an ordinary page takes 0.05 s
    draw_wall_seconds: float = 10.0
    work_cpu_seconds: int = 20      # prepare, complete, judge: hashing and copying hundreds of megabytes
    work_wall_seconds: float = 60.0
    jobs_per_worker: int = 5_000    # then it is replaced: nothing that leaks or lingers lives for ever; it costs 0.7 s


@dataclass(frozen=True)
class EarlierSignature:
    """A signature the document already carries."""

    field: str
    signer: str                 # subject of the signing certificate, for people
    intact: bool                # the bytes it covers are unchanged and the signature value fits its certificate
    covers_whole_file: bool     # nothing was appended after it


@dataclass(frozen=True)
class Ground:
    """What a plain document gives a signature's tail to rest on (`pdf.ground`). References: number and generation."""

    digest: str                 # SHA-256 of the document; empty where it was not taken
    page_number: int            # from 1
    last_reference: int         # offset of the last table or stream of references
    in_streams: bool            # references are in streams, not in tables
    highest_object: int
    root: tuple[int, int]
    catalogue: bytes            # its entries as they are written, without brackets and without a form
    page: tuple[int, int]
    page_entries: bytes         # those of the page, without its annotations
    annotations: bytes          # what stands in the page's annotations
    first_id: bytes             # the half of the /ID that never changes
    trailer: bytes              # its other entries

    @property
    def size(self) -> int:
        """Bytes of it that came from the document."""
        return sum(map(len, (self.catalogue, self.page_entries, self.annotations, self.first_id, self.trailer)))


@dataclass(frozen=True)
class Look:
    """An accepted document. `warnings` are codes that a policy may refuse and a screen must show."""

    pages: int
    size: int                   # bytes
    digest: str                 # SHA-256 of the file
    pdf_version: str
    producer: str | None
    title: str | None
    signatures: tuple[EarlierSignature, ...]
    forms: bool
    warnings: tuple[str, ...]
    secret_mark: str | None = None      # MẬT, TỐI MẬT or TUYỆT MẬT seen on the first page (best effort, `pdf.marks`)
    ground: Ground | None = None        # where it is plain; of no use but to prepare it


@dataclass(frozen=True)
class SurveyOrder:
    """How large are the pages? Of the document that the worker was given."""


@dataclass(frozen=True)
class Survey:
    """Width and height of each page in points, as it is shown. `digest`: SHA-256 of the bytes that were read."""

    digest: str
    pages: tuple[tuple[float, float], ...]


class Width(IntEnum):
    """How wide a page is drawn, in pixels: a closed set, so that a browser keeps each picture and asks once."""

    LIST = 480          # beside a list
    PAGE = 960          # on the page
    ENLARGED = 1920


@dataclass(frozen=True)
class PictureOrder:
    """Draw one page, counted from 1."""

    document: Path
    page: int
    width: Width


@dataclass(frozen=True)
class PageOrder:
    """A `PictureOrder` as it reaches a worker, which was given its one document before."""

    page: int
    width: Width


@dataclass(frozen=True)
class Picture:
    """A page, drawn. `digest`: SHA-256 of exactly the bytes that were drawn; sizes in pixels."""

    digest: str
    media_type: Literal["image/png", "image/jpeg"]  # a browser is told so: no worker may say "text/html"
    content: bytes
    width: int
    height: int


class Wall(StrEnum):
    """What stands around a worker, as readiness shows it."""

    NETWORK = "network"     # a namespace without interfaces
    FILES = "landlock"      # only documents, fonts and the interpreter's modules can be opened
    CALLS = "seccomp"       # only the system calls of its trade


class Level(StrEnum):
    """PAdES baseline levels (ETSI EN 319 142-1 clause 6)."""

    B_B = "B-B"
    B_T = "B-T"  # with a signature timestamp (RFC 3161) as an unsigned attribute


@dataclass(frozen=True)
class Box:
    """Where a visible signature stands: page counted from 1, corners in points from the page's lower left."""

    page: int
    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True)
class Appearance:
    """A block of text lines in a TrueType font that is embedded (a subset of it) in the document."""

    box: Box
    lines: tuple[str, ...]
    font: Path | None = None    # preferred; another is taken when it lacks a letter (`pdf.fonts`)


@dataclass(frozen=True)
class PrepareOrder:
    """Make the tail for one document. `tail` is the file to write; `reserved` bytes of DER, or None to compute."""

    document: Path
    tail: Path
    certificate: bytes          # DER
    chain: tuple[bytes, ...]    # DER, from the issuer upwards
    algorithm: Algorithm
    level: Level
    signing_time: datetime      # aware; goes into /M (EN 319 142-1 6.3: never into the CMS)
    reserved: int | None = None
    reason: str | None = None
    location: str | None = None
    appearance: Appearance | None = None    # None: invisible
    field_name: str = "Signature"           # made unique when the document already has such a field
    ground: Ground | None = None            # what a look has read; compared with the document before it is used


@dataclass(frozen=True)
class Prepared:
    """The tail is on disk. `to_sign` is the digest of the DER signed attributes: what the device signs."""

    document_digest: str
    tail_digest: str
    tail_size: int
    to_sign: bytes
    reserved: int
    field_name: str


@dataclass(frozen=True)
class CompleteOrder:
    """Everything a signed document consists of. The same order gives the same bytes, today and next year."""

    document: Path
    tail: Path
    output: Path
    certificate: bytes
    chain: tuple[bytes, ...]
    algorithm: Algorithm
    level: Level
    to_sign: bytes
    signature_value: bytes                  # RSA: as long as the modulus; ECDSA: DER (RFC 3279 2.2.3)
    timestamp_token: bytes | None = None    # DER ContentInfo (RFC 3161 2.4.2)


@dataclass(frozen=True)
class Completed:
    """The signed document is on disk and was validated."""

    digest: str
    size: int


class Verdict(StrEnum):
    """The three answers of ETSI EN 319 102-1 5.1.3 as the national validators word them."""

    VALID = "HỢP LỆ"
    INVALID = "KHÔNG HỢP LỆ"
    INDETERMINATE = "KHÔNG ĐỦ THÔNG TIN XÁC THỰC"


class Changes(StrEnum):
    """What was appended to the document after a signature."""

    NONE = "none"
    PERMITTED = "permitted"         # further signatures, filled fields: what the signature allows
    NOT_PERMITTED = "not-permitted"


class Problem(StrEnum):
    """Why a verdict is not VALID: the first of these that applies."""

    UNREADABLE = "unreadable"               # the signature's own structure is broken
    ALTERED = "altered"                     # the covered bytes were changed, or the value does not fit
    CHANGED_AFTER = "changed-after"         # something was appended that the signature does not permit
    TIMESTAMP_BROKEN = "timestamp-broken"   # it carries a timestamp that does not belong to it
    REVOKED = "revoked"
    EXPIRED = "expired"                     # at the moment that counts
    NOT_YET_VALID = "not-yet-valid"
    UNTRUSTED = "untrusted"                 # no path to a trusted root, or a certificate not fit for signing
    REVOCATION_UNKNOWN = "revocation-unknown"


@dataclass(frozen=True)
class JudgeOrder:
    """Judge every signature of a document against these roots, with the revocation lists that are at hand."""

    document: Path
    trust_roots: tuple[bytes, ...]          # DER
    moment: datetime                        # now, aware; a trusted timestamp moves a judgement back to its time
    crls: tuple[bytes, ...] = ()            # DER
    require_revocation: bool = False        # without fresh status: INDETERMINATE instead of VALID


@dataclass(frozen=True)
class Judgement:
    """One signature: what was found, and the verdict it leads to."""

    field: str
    signer: str
    issuer: str
    serial: str                             # hexadecimal
    certificate: bytes                      # DER; empty when the signature is unreadable
    not_before: datetime | None
    not_after: datetime | None
    signing_time: datetime | None           # claimed by the signer's side
    timestamp_time: datetime | None         # proven by a timestamp that is intact and trusted
    intact: bool
    valid: bool
    trusted: bool
    revoked: bool
    revocation_checked: bool
    covers_whole_document: bool
    changes_after: Changes
    verdict: Verdict
    problem: Problem | None                 # None exactly when the verdict is VALID


@dataclass(frozen=True)
class LookOrder:
    document: Path
    limits: Limits
