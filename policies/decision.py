"""What goes into a decision and what comes out: facts, findings, the decision, its terms."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from hsm.algorithms import Algorithm, KeyKind


class Secrecy(StrEnum):
    """Levels of state secrecy. Only `NONE` is ever signed here."""

    NONE = "none"
    MAT = "mat"
    TOI_MAT = "toi-mat"
    TUYET_MAT = "tuyet-mat"


class Urgency(StrEnum):
    """Decree 30/2020, Annex I, III.2."""

    NORMAL = "normal"
    KHAN = "khan"
    THUONG_KHAN = "thuong-khan"
    HOA_TOC = "hoa-toc"


class CredentialKind(StrEnum):
    """A person's own signature, or an agency's seal."""

    PERSONAL = "personal"
    AGENCY = "agency"


class Level(StrEnum):
    """PAdES baseline levels (ETSI EN 319 142-1): without and with a timestamp."""

    B_B = "B-B"
    B_T = "B-T"


class Confirm(StrEnum):
    """Where the one-time code is typed: in the client's own screens, or on the person's phone."""

    CLIENT = "client"
    PHONE = "phone"


class Appearance(StrEnum):
    """What the signature shows on the page."""

    NONE = "none"
    TEXT = "text"


# Decree 30/2020, Annex III; ours are the codes for kinds without one, for appendix files and the rest.
DOCUMENT_TYPES = MappingProxyType({
    "NQ": "nghị quyết", "QĐ": "quyết định", "CT": "chỉ thị", "QC": "quy chế", "QyĐ": "quy định",
    "TC": "thông cáo", "TB": "thông báo", "HD": "hướng dẫn", "CTr": "chương trình", "KH": "kế hoạch",
    "PA": "phương án", "ĐA": "đề án", "DA": "dự án", "BC": "báo cáo", "BB": "biên bản", "TTr": "tờ trình",
    "HĐ": "hợp đồng", "CĐ": "công điện", "BGN": "bản ghi nhớ", "BTT": "bản thỏa thuận",
    "GUQ": "giấy ủy quyền", "GM": "giấy mời", "GGT": "giấy giới thiệu", "GNP": "giấy nghỉ phép",
    "PG": "phiếu gửi", "PC": "phiếu chuyển", "PB": "phiếu báo",
    "CV": "công văn", "ThC": "thư công",
    "SY": "sao y", "SL": "sao lục", "TrS": "trích sao",
    "PL": "phụ lục (tệp riêng)", "KHAC": "loại khác",
})

COPIES = frozenset({"SY", "SL", "TrS"})  # made by the clerk alone, under the agency's seal (Art. 25, 32)
APPENDIX = "PL"                          # a separate file, sealed and not signed (Annex I, II.8.b)

# Only where the plain spelling means nothing else: HD is hướng dẫn and DA is dự án, never HĐ or ĐA.
_PLAIN = MappingProxyType({"QD": "QĐ", "QyD": "QyĐ", "CD": "CĐ"})

# What looking at a PDF may warn of. A policy names those it tolerates; everything else refuses.
WARNINGS = MappingProxyType({
    "embedded-files": "other files are embedded in it",
    "optional-content": "it has layers that can be shown or hidden",
    "form-fields": "it has form fields that can be filled in later",
    "annotations": "it has notes or drawings that lie over its pages",
    "hybrid-references": "older and newer readers find their way through it differently, as in files from Word",
    "earlier-signature": "it carries an earlier signature",
    "earlier-signature-broken": "an earlier signature does not fit the bytes it covers",
    "changed-after-signature": "it was changed after an earlier signature in a way that signature does not permit",
})


def document_type(code: str) -> str:
    """The code as Annex III writes it; ASCII spellings are accepted where they are unambiguous.

    The Icelandic Ð (U+00D0), which old Vietnamese keyboards produce, is read as Đ. ValueError for all others.
    """
    spelled = unicodedata.normalize("NFC", code.strip()).replace("\u00d0", "Đ")
    canonical = _PLAIN.get(spelled, spelled)
    if canonical not in DOCUMENT_TYPES:
        raise ValueError(f"unknown document type {code!r}; known are {', '.join(DOCUMENT_TYPES)}")
    return canonical


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a policy may ask about one signing request. ValueError for a naive time or a negative number."""

    now: datetime
    document_type: str  # as `document_type()` gives it; an unknown one is refused by the rules
    secrecy: Secrecy
    urgency: Urgency
    size: int  # bytes
    pages: int
    earlier_signatures: int  # signatures already in the document
    client: str
    client_agencies: frozenset[str]  # codes it may submit for; empty: none; "*": every agency
    signatory: str
    signatory_agency: str
    signatory_active: bool
    signatory_office: str
    issuing_agency: str
    issuing_agency_level: str
    issuing_agency_active: bool
    credential_kind: CredentialKind
    credential_agency: str
    credential_state: str
    certificate_from: datetime
    certificate_until: datetime
    key_kind: KeyKind
    algorithm: Algorithm
    level: Level | None  # what the client asks for; None: what the policy gives
    confirm: Confirm | None  # how the confirmation came; None: nobody has confirmed yet
    used_today: int  # intents of this credential in this local day, before this one
    warnings: frozenset[str]  # codes of WARNINGS

    def __post_init__(self) -> None:
        for name in ("now", "certificate_from", "certificate_until"):
            if getattr(self, name).tzinfo is None:
                raise ValueError(f"{name} must say its time zone")
        if not 2000 <= self.now.year < 9999:  # so that any zone can show it
            raise ValueError("now must lie between the years 2000 and 9998")
        for name in ("size", "pages", "earlier_signatures", "used_today"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")


@dataclass(frozen=True)
class Finding:
    """One rule's answer: which rule, whether it permits, and why, in words that may be shown."""

    rule: str
    permits: bool
    why: str


@dataclass(frozen=True)
class Terms:
    """Under which conditions a permitted request is signed."""

    level: Level
    confirm: Confirm
    lifetime: timedelta
    algorithms: frozenset[Algorithm]
    appearance: Appearance


@dataclass(frozen=True)
class Decision:
    """Every finding, and the terms exactly when all of them permit (else ValueError)."""

    policy_name: str
    policy_hash: str
    findings: tuple[Finding, ...]
    terms: Terms | None

    def __post_init__(self) -> None:
        if self.permitted != (self.terms is not None):
            raise ValueError("a decision has terms exactly when it permits")

    @property
    def permitted(self) -> bool:
        return bool(self.findings) and all(finding.permits for finding in self.findings)

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings that do not permit, in the order of the rules."""
        return tuple(finding for finding in self.findings if not finding.permits)
