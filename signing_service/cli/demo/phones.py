"""Somebody's phone: codes out of the seed it scanned, each used once."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyotp

STEP = 30       # seconds, RFC 6238 4.1
CLOSE = 3       # seconds before a step ends in which the oldest acceptable code is not begun with any more


@dataclass
class Phone:
    """The signer takes codes one step old or early, and each only after all before it: so three fit without a wait."""

    uri: str
    last: int = 0  # the step of the last code that was given out

    def code(self) -> str:
        """A code that was not used yet; waits for the next step where there is none."""
        now = time.time()
        oldest = int(now) // STEP - (0 if STEP - now % STEP < CLOSE else 1)
        step = max(self.last + 1, oldest)
        while step > int(time.time()) // STEP + 1:
            time.sleep(0.2)
        self.last = step
        return self._totp.generate_otp(step)

    def wrong_code(self) -> str:
        """Six digits that are none of the codes acceptable about now."""
        step = int(time.time()) // STEP
        right = {self._totp.generate_otp(step + away) for away in range(-3, 4)}
        return next(guess for guess in ("000000", "111111", "222222", "333333", "444444", "555555", "666666",
                                        "777777") if guess not in right)

    @property
    def _totp(self) -> pyotp.TOTP:
        parsed = pyotp.parse_uri(self.uri)
        if not isinstance(parsed, pyotp.TOTP):
            raise TypeError("not the seed of time-based codes")
        return parsed
