"""A token that locks after three wrong PINs and knows no curves, and us before it. Runs beside opencryptoki's daemon.

    opencryptoki.run([sys.executable, "-m", "tests.support.soft_token_stories"])
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pkcs11 import PKCS11Error, Token, TokenFlag

from hsm import DeviceSettings, open_device
from hsm.doctor import examine
from hsm.module import acquire, find_token, release
from hsm.token import Pkcs11Device
from tests.support import opencryptoki
from tests.support.device_stories import refusal

LEFT = {TokenFlag.USER_PIN_LOCKED: 0, TokenFlag.USER_PIN_FINAL_TRY: 1, TokenFlag.USER_PIN_COUNT_LOW: 2}


@dataclass(frozen=True)
class Seen:
    """Tries that the token has left, and what we were told."""

    left: int
    said: list[str]


class Story:
    def __init__(self) -> None:
        self.settings = opencryptoki.provisioned()

    @contextmanager
    def token(self) -> Iterator[Token]:
        """Only for a moment: while anybody holds the library, whoever is logged in stays so."""
        library = acquire(self.settings)
        try:
            yield find_token(library, self.settings.wanted)
        finally:
            release(library)

    def left(self) -> int:
        with self.token() as token:
            return next((left for flag, left in LEFT.items() if token.flags & flag), 3)

    def asked_often(self, settings: DeviceSettings) -> Seen:
        """One device asked again and again, new ones beside it, and the doctor."""
        device = Pkcs11Device(settings)
        said = [refusal(device.self_test) for _ in range(5)]
        device.close()
        said += [refusal(lambda: open_device(settings)) for _ in range(3)]
        said += [check.detail for check in examine(settings) if check.name == "PIN"]
        return Seen(self.left(), said)

    def wrong(self, number: int) -> Seen:
        """As in another process, which remembers nothing of the tries before: another PIN file."""
        pin_file = self.settings.pin_file.with_name(f"wrong-{number}")
        pin_file.write_text(f"wrong{number}\n")
        return self.asked_often(replace(self.settings, pin_file=pin_file))

    def by_hand(self) -> Seen:
        """Somebody else's last try."""
        try:
            with self.token() as token:
                token.open(user_pin="byhand")
            said = "no error"
        except PKCS11Error as error:
            said = type(error).__name__
        return Seen(self.left(), [said])

    def right(self) -> Seen:
        said = refusal(lambda: open_device(self.settings).close())
        return Seen(self.left(), [said])


def main() -> None:
    story = Story()
    doctor = [[check.name, check.ok, check.detail] for check in examine(story.settings)]
    told = {
        "the right PIN": story.right(), "a wrong one": story.wrong(1), "the right one again": story.right(),
        "wrong in one process": story.wrong(2), "and in another": story.wrong(3), "and in a third": story.wrong(4),
        "the right one at the last try": story.right(), "by hand": story.by_hand(), "at last": story.right(),
    }
    print(json.dumps({"doctor": doctor, "tries": {name: [seen.left, seen.said] for name, seen in told.items()}}))


if __name__ == "__main__":
    main()
