"""Who may knock, and how often: failed sign-ins by where they come from, and how many of them are put on record.

The account's own lock is in the database and holds for all fronts; this is only so that one place cannot keep
everybody's accounts locked, or our processors busy, without being sent away.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

from signing_service.errors import TooMany
from signing_service.front.tally import Tally

FROM_ONE_PLACE, SECONDS = 40, 600.0  # a whole office behind one address mistypes less
RECORDED, RECORDING_SECONDS = 30, 600.0  # of one person, and of everybody unknown together


class Doorkeeper:
    """Counts of this process, in memory."""

    def __init__(self) -> None:
        self._knocks = Tally(FROM_ONE_PLACE, SECONDS)
        self._recorded = Tally(RECORDED, RECORDING_SECONDS)

    def admit(self, place: str) -> None:
        """Count one try from here. Raises TooMany where there were too many."""
        if (wait := self._knocks.wait(place)) > 0:
            raise TooMany("Too many sign-ins from this place failed.", code="sign-ins", retry_after=int(wait) + 1)
        self._knocks.add(place)

    def forgive(self, place: str) -> None:
        """It went well: it does not count, and pays for a few that did not."""
        self._knocks.forgive(place, 4)

    def is_worth_recording(self, actor: str) -> bool:
        """Is there room on record for one more refusal of this name?"""
        if self._recorded.wait(actor) > 0:
            return False
        self._recorded.add(actor)
        return True


def place_of(address: str) -> str:
    """Where somebody is: an IPv4 address, or a network of IPv6. Who has one of its addresses has 2**64 of them."""
    try:
        found = ip_address(address)
    except ValueError:
        return "nowhere"
    return str(found) if isinstance(found, IPv4Address) else str(ip_network((found, 64), strict=False))
