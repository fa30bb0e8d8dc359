"""A clock that is set while the signer runs: in either direction nothing is signed, and it is right again by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signing_service.errors import Unavailable
from signing_service.signer import clock
from signing_service.signer.runtime import Pace
from tests.support.city import City


class Passing:
    """Time as it passes, whatever the clock on the wall says."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_clock_that_goes_further_than_time_does_stops_everything_until_it_is_right(city: City) -> None:
    passed = Passing()
    rt = replace(city.rt, pace=Pace.begin(city.clock.at, passed))
    clock.look(rt)
    city.clock.forward(31)
    with pytest.raises(Unavailable, match="was set while it ran"):
        clock.look(rt)
    city.clock.forward(-31)
    clock.look(rt)  # and what it said meanwhile is not remembered as the highest moment
    passed.seconds = 3_600
    city.clock.forward(3_590)
    clock.look(rt)
    city.clock.forward(-29)
    with pytest.raises(Unavailable, match="ran back"):
        clock.look(rt)
