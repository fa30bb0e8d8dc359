"""Who acts, and through what: every entry of an act says both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from signing_service.audit import Event, Fact


@dataclass(frozen=True)
class By:
    """An actor as entries name it, such as `operator:op_…`. `through` is `web` where it was not admin.sock."""

    actor: str
    through: str | None = None

    def fact(self, event: Event, outcome: str = "ok", *, data: dict[str, Any] | None = None, **where: Any) -> Fact:
        """A fact of this actor's, with what it came through in its data."""
        said = (data or {}) | ({"through": self.through} if self.through else {})
        return Fact(event, self.actor, outcome, data=said, **where)
