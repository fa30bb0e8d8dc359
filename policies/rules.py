"""Each rule is one question to the facts. It says what it asks, and answers with a finding that says why.

`ALWAYS` holds the rules that no policy can switch off. The others are made from a policy file (document.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from hsm.algorithms import Algorithm, KeyKind
from policies.decision import (
    APPENDIX,
    COPIES,
    DOCUMENT_TYPES,
    WARNINGS,
    Confirm,
    CredentialKind,
    Facts,
    Finding,
    Level,
    Secrecy,
    Urgency,
)

ANY = "*"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Rule(Protocol):
    """One question. `check` is pure and never raises for any facts."""

    def says(self) -> str: ...

    def check(self, facts: Facts) -> Finding: ...


def listed(values: Iterable[str]) -> str:
    """Values as they are shown: sorted, so that the same set always reads the same."""
    return ", ".join(sorted(values)) or "nothing"


class Moment(NamedTuple):
    """What a clock and a calendar in some place show."""

    date: date
    weekday: str
    clock: time
    told: str


def moment_in(zone: ZoneInfo, now: datetime) -> Moment:
    """What they show there now. The documents of a batch are decided at one moment: it is looked up once."""
    return _moment(zone, now.astimezone(UTC))  # elsewhere the two equal hours of an autumn night would be one


@lru_cache(maxsize=64)
def _moment(zone: ZoneInfo, now: datetime) -> Moment:
    local = now.astimezone(zone)
    weekday = DAYS[local.weekday()]
    return Moment(local.date(), weekday, local.time(), f"{weekday} {local:%H:%M} local time")


@dataclass(frozen=True)
class AllOf:
    """Permits when every rule does. No rules: refused."""

    name: str
    rules: tuple[Rule, ...]

    def says(self) -> str:
        return "all of: " + "; ".join(rule.says() for rule in self.rules)

    def check(self, facts: Facts) -> Finding:
        findings = [rule.check(facts) for rule in self.rules]
        against = [finding for finding in findings if not finding.permits]
        if not findings:
            return Finding(self.name, False, "there is no rule, and silence is a refusal")
        return Finding(self.name, not against, "; ".join(f.why for f in against or findings))


@dataclass(frozen=True)
class AnyOf:
    """Permits when at least one rule does. No rules: refused."""

    name: str
    rules: tuple[Rule, ...]

    def says(self) -> str:
        return "any of: " + "; ".join(rule.says() for rule in self.rules)

    def check(self, facts: Facts) -> Finding:
        against = []
        for rule in self.rules:
            finding = rule.check(facts)
            if finding.permits:
                return Finding(self.name, True, finding.why)
            against.append(finding.why)
        if not against:
            return Finding(self.name, False, "there is no rule, and silence is a refusal")
        return Finding(self.name, False, "; ".join(against))


@dataclass(frozen=True)
class NotSecret:
    """State secrets never pass through this server, whatever a policy says."""

    def says(self) -> str:
        return "documents with any mark of secrecy are refused, always"

    def check(self, facts: Facts) -> Finding:
        if facts.secrecy is Secrecy.NONE:
            return Finding("secrecy", True, "the document is not secret")
        why = f"the document is marked {facts.secrecy}, and secret ones are never signed here"
        return Finding("secrecy", False, why)


@dataclass(frozen=True)
class KnownType:
    def says(self) -> str:
        return "the document type is one of Decree 30/2020, Annex III, a copy, an appendix or KHAC"

    def check(self, facts: Facts) -> Finding:
        name = DOCUMENT_TYPES.get(facts.document_type)
        if name is None:
            return Finding("document-type", False, f"there is no document type {facts.document_type}")
        return Finding("document-type", True, f"{facts.document_type} is {name}")


@dataclass(frozen=True)
class ClientMaySubmit:
    def says(self) -> str:
        return "the client is registered to submit for the issuing agency"

    def check(self, facts: Facts) -> Finding:
        permits = ANY in facts.client_agencies or facts.issuing_agency in facts.client_agencies
        word = "may" if permits else "may not"
        return Finding("client", permits, f"{facts.client} {word} submit for {facts.issuing_agency}")


@dataclass(frozen=True)
class AgencyActive:
    def says(self) -> str:
        return "the issuing agency is active"

    def check(self, facts: Facts) -> Finding:
        word = "active" if facts.issuing_agency_active else "not active"
        return Finding("agency", facts.issuing_agency_active, f"{facts.issuing_agency} is {word}")


@dataclass(frozen=True)
class SignatoryActive:
    def says(self) -> str:
        return "the signatory is active"

    def check(self, facts: Facts) -> Finding:
        word = "active" if facts.signatory_active else "not active"
        return Finding("signatory", facts.signatory_active, f"{facts.signatory} is {word}")


@dataclass(frozen=True)
class CredentialActive:
    def says(self) -> str:
        return "the credential is active"

    def check(self, facts: Facts) -> Finding:
        permits = facts.credential_state == "active"
        return Finding("credential", permits, f"the credential is {facts.credential_state or 'in no state'}")


@dataclass(frozen=True)
class CertificateValid:
    """Decree 68/2024, Art. 29: the certificate is checked before the signature is made."""

    def says(self) -> str:
        return "the certificate is valid now"

    def check(self, facts: Facts) -> Finding:
        if facts.now < facts.certificate_from:
            return Finding("certificate", False, f"it begins at {facts.certificate_from.isoformat()}")
        if facts.now > facts.certificate_until:
            return Finding("certificate", False, f"it ended at {facts.certificate_until.isoformat()}")
        return Finding("certificate", True, f"it is valid until {facts.certificate_until.isoformat()}")


@dataclass(frozen=True)
class SealOfIssuer:
    """A seal speaks for its agency alone, so it never stands on another agency's document."""

    def says(self) -> str:
        return "an agency's seal is used only on documents which that agency issues"

    def check(self, facts: Facts) -> Finding:
        if facts.credential_kind is CredentialKind.PERSONAL:
            return Finding("seal-of-issuer", True, "it is not a seal")
        permits = facts.credential_agency == facts.issuing_agency
        why = f"the seal belongs to {facts.credential_agency}, the document to {facts.issuing_agency}"
        return Finding("seal-of-issuer", permits, why)


ALWAYS: tuple[Rule, ...] = (
    NotSecret(),
    KnownType(),
    ClientMaySubmit(),
    AgencyActive(),
    SignatoryActive(),
    CredentialActive(),
    CertificateValid(),
    SealOfIssuer(),
)


@dataclass(frozen=True)
class OwnAgency:
    def says(self) -> str:
        return "people sign only what their own agency issues"

    def check(self, facts: Facts) -> Finding:
        permits = facts.signatory_agency == facts.issuing_agency
        why = f"the signatory belongs to {facts.signatory_agency}, the document to {facts.issuing_agency}"
        return Finding("own-agency", permits, why)


@dataclass(frozen=True)
class SealAfterSignature:
    """Decree 30/2020, Art. 32: a seal only on what an authorised person signed, and on copies."""

    def says(self) -> str:
        kinds = listed(COPIES | {APPENDIX})
        return f"an agency's seal follows a signature (Decree 30/2020, Art. 32), except on {kinds}"

    def check(self, facts: Facts) -> Finding:
        name = "seal-after-signature"
        if facts.credential_kind is CredentialKind.PERSONAL:
            return Finding(name, True, "it is not a seal")
        if facts.document_type in COPIES or facts.document_type == APPENDIX:
            return Finding(name, True, f"{facts.document_type} is sealed without a signature")
        if facts.earlier_signatures > 0:
            return Finding(name, True, "the document is already signed")
        return Finding(name, False, "nobody has signed the document yet (Decree 30/2020, Art. 32)")


@dataclass(frozen=True)
class Algorithms:
    algorithms: frozenset[Algorithm]
    keys: frozenset[KeyKind]

    def says(self) -> str:
        return f"keys are {listed(self.keys)}; algorithms are {listed(self.algorithms)}"

    def check(self, facts: Facts) -> Finding:
        if facts.key_kind not in self.keys:
            return Finding("algorithm", False, f"a {facts.key_kind} key is not one of {listed(self.keys)}")
        if facts.algorithm not in self.algorithms:
            return Finding("algorithm", False, f"{facts.algorithm} is not one of {listed(self.algorithms)}")
        if not facts.algorithm.fits(facts.key_kind):
            return Finding("algorithm", False, f"{facts.algorithm} needs another key than {facts.key_kind}")
        return Finding("algorithm", True, f"{facts.algorithm} with {facts.key_kind} is permitted")


@dataclass(frozen=True)
class Levels:
    levels: frozenset[Level]
    default: Level

    def says(self) -> str:
        return f"PAdES level is one of {listed(self.levels)}; {self.default} when the client asks for none"

    def check(self, facts: Facts) -> Finding:
        if facts.level is None:
            return Finding("level", True, f"{self.default}, as the client asks for none")
        permits = facts.level in self.levels
        return Finding("level", permits, f"{facts.level} asked, {listed(self.levels)} permitted")


@dataclass(frozen=True)
class Confirmation:
    """The phone is the stronger way, so it is accepted even where the client's screens would do."""

    least: Confirm

    def says(self) -> str:
        ways = "on the phone" if self.least is Confirm.PHONE else "through the client, or on the phone"
        return f"the person confirms {ways}"

    def check(self, facts: Facts) -> Finding:
        if facts.confirm is None:
            return Finding("confirmation", True, "nobody has confirmed yet; it will be asked for")
        permits = facts.confirm in (self.least, Confirm.PHONE)
        return Finding("confirmation", permits, f"confirmed by {facts.confirm}, asked for {self.least}")


@dataclass(frozen=True)
class Hours:
    """Local days and hours; `until` None is the end of the day. Listed urgencies are signed at any time."""

    days: frozenset[str]
    start: time
    until: time | None
    zone: ZoneInfo
    exempt: frozenset[Urgency]

    def says(self) -> str:
        exempt = f", except {listed(self.exempt)}" if self.exempt else ""
        return f"{self._hours} ({self.zone.key}){exempt}"

    def check(self, facts: Facts) -> Finding:
        if facts.urgency in self.exempt:
            return Finding("hours", True, f"{facts.urgency} is signed at any time")
        local = moment_in(self.zone, facts.now)
        inside = self.start <= local.clock and (self.until is None or local.clock < self.until)
        return Finding("hours", inside and local.weekday in self.days, f"{local.told}; {self._hours}")

    @cached_property
    def _hours(self) -> str:
        days = ", ".join(day for day in DAYS if day in self.days)
        until = "24:00" if self.until is None else f"{self.until:%H:%M}"
        return f"signing hours are {days} from {self.start:%H:%M} to {until}"


@dataclass(frozen=True)
class DailyLimit:
    personal: int
    agency: int

    def says(self) -> str:
        return f"a day has at most {self.personal} signatures of a person, {self.agency} of a seal"

    def check(self, facts: Facts) -> Finding:
        limit = self.personal if facts.credential_kind is CredentialKind.PERSONAL else self.agency
        why = f"{facts.used_today} of {limit} used today"
        return Finding("daily-limit", facts.used_today < limit, why)


@dataclass(frozen=True)
class Size:
    most: int  # bytes

    def says(self) -> str:
        return f"documents have at most {self.most} bytes"

    def check(self, facts: Facts) -> Finding:
        return Finding("size", facts.size <= self.most, f"{facts.size} bytes, at most {self.most}")


@dataclass(frozen=True)
class Pages:
    most: int

    def says(self) -> str:
        return f"documents have 1 to {self.most} pages"

    def check(self, facts: Facts) -> Finding:
        permits = 1 <= facts.pages <= self.most
        return Finding("pages", permits, f"{facts.pages} pages, 1 to {self.most} permitted")


@dataclass(frozen=True)
class EarlierSignatures:
    most: int

    def says(self) -> str:
        return f"documents carry at most {self.most} earlier signatures"

    def check(self, facts: Facts) -> Finding:
        why = f"{facts.earlier_signatures} earlier signatures, at most {self.most}"
        return Finding("earlier-signatures", facts.earlier_signatures <= self.most, why)


@dataclass(frozen=True)
class Warnings:
    tolerated: frozenset[str]

    def says(self) -> str:
        return f"of what a look at the PDF warns of, this is tolerated: {listed(self.tolerated)}"

    def check(self, facts: Facts) -> Finding:
        against = sorted(facts.warnings - self.tolerated)
        if against:
            why = "; ".join(WARNINGS.get(code, f"it warns of {code}") for code in against)
            return Finding("pdf", False, why)
        return Finding("pdf", True, f"warnings: {listed(facts.warnings)}")
