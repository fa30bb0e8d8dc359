"""The roll-out matrix: a request is permitted only when at least one of its blocks matches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from policies.decision import CredentialKind, Facts, Finding
from policies.rules import ANY, listed, moment_in


@dataclass(frozen=True)
class Allow:
    """Who may sign what, for whom, with which credential, and from when to when."""

    name: str
    types: frozenset[str]
    agencies: frozenset[str]
    agency_levels: frozenset[str]
    offices: frozenset[str]
    credentials: frozenset[CredentialKind]
    zone: ZoneInfo
    start: date | None = None  # first local day
    until: date | None = None  # last local day

    def says(self) -> str:
        span = f", from {self.start or 'ever'} until {self.until or 'further notice'}"
        return (
            f"{self.name}: types {listed(self.types)}; agencies {listed(self.agencies)}; agency levels"
            f" {listed(self.agency_levels)}; offices {listed(self.offices)}; credentials"
            f" {listed(self.credentials)}{span}"
        )

    def check(self, facts: Facts) -> Finding:
        against = [*self._unlisted(facts), *self._untimely(facts)]
        if against:
            return Finding("allow", False, f"{self.name}: {', '.join(against)}")
        return Finding("allow", True, self.name)

    def _unlisted(self, facts: Facts) -> list[str]:
        asked = (
            ("type", facts.document_type, self.types),
            ("agency", facts.issuing_agency, self.agencies),
            ("agency level", facts.issuing_agency_level, self.agency_levels),
            ("office", facts.signatory_office, self.offices),
            ("credential", facts.credential_kind, self.credentials),
        )
        return [f"{what} {value} is not listed" for what, value, among in asked
                if ANY not in among and value not in among]

    def _untimely(self, facts: Facts) -> list[str]:
        today = moment_in(self.zone, facts.now).date
        early = [f"it begins on {self.start}"] if self.start and today < self.start else []
        late = [f"it ended on {self.until}"] if self.until and today > self.until else []
        return early + late
