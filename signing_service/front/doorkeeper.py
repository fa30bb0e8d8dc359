"""Who may knock, and how often: failed sign-ins by where they come from, and how many of them are put on record.

The account's own lock is in the database and holds for all fronts; this is only so that one place cannot keep
everybody's accounts locked, or our processors busy, without being sent away.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from signing_service.errors import TooMany
from signing_service.front.tally import Tally

FROM_ONE_PLACE, SECONDS = 40, 600.0  # a whole office behind one address mistypes less
RECORDED, RECORDING_SECONDS = 30, 600.0  # of one person, and of everybody unknown together


class Doorkeeper:
    """Counts of this process, in memory."""

    def __init__(self) -> None:
        self._knocks = Tally(FROM_ONE_PLACE, SECONDS)
        self._recorded = Tally(RECORDED, RECORDING_SECONDS)

    def admit(self, address: str) -> None:
        """Count one try from here. Raises TooMany where there were too many."""
        place = place_of(address)
        if (wait := self._knocks.wait(place)) > 0:
            raise TooMany("Too many sign-ins from this place failed.", code="sign-ins", retry_after=int(wait) + 1)
        self._knocks.add(place)

    def forgive(self, address: str) -> None:
        """It went well: it does not count, and pays for a few that did not."""
        self._knocks.forgive(place_of(address), 4)

    def is_worth_recording(self, actor: str) -> bool:
        """Is there room on record for one more refusal of this name?"""
        if self._recorded.wait(actor) > 0:
            return False
        self._recorded.add(actor)
        return True


def place_of(address: str) -> str:
    """Where somebody is. Who has one IPv6 address has 2**64 of them."""
    try:
        found = ip_address(address)
    except ValueError:
        return "nowhere"
    return str(int(found) >> 64) if isinstance(found, IPv6Address) else str(found)
