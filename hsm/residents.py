"""Keys that were unwrapped and stay in the device as session objects, the longest unused leave first.

To unwrap for each signature costs twelve signatures on P-256; to look a token object up costs 40 µs and grows with
their number. So whatever was loaded once is kept by its name, up to a limit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pkcs11 import PKCS11Error

Name = tuple[str, bytes]  # the key's id and the digest of its blob: another blob is another key


@dataclass
class Resident:
    """A loaded key. `temporary` ones are session objects and are destroyed when they leave."""

    key: Any  # a key object of python-pkcs11
    temporary: bool
    users: int = 0
    condemned: bool = False


class Residents:
    """At most `limit` keys, and those in use. Safe for threads; nothing is destroyed while somebody signs with it.

    `anchored` is held while the session that owns the keys is used.
    """

    def __init__(self, limit: int, anchored: threading.Lock) -> None:
        self._limit = limit
        self._anchored = anchored
        self._keys: OrderedDict[Name, Resident] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def held(self, name: Name, load: Callable[[], Resident]) -> Iterator[int]:
        """The key's handle, loaded if need be. A key that failed is forgotten and loaded anew next time."""
        resident = self._found(name) or self._kept(name, load())
        try:
            yield resident.key.handle
        except PKCS11Error:
            self.forget(name)
            raise
        finally:
            self._returned(resident)

    def forget(self, name: Name) -> None:
        """Drop a key; if somebody is using it, as soon as that is over."""
        with self._lock:
            resident = self._keys.pop(name, None)
            gone = [resident] if resident and _condemn(resident) else []
        self._destroy(gone)

    def __len__(self) -> int:
        return len(self._keys)

    def _found(self, name: Name) -> Resident | None:
        with self._lock:
            resident = self._keys.get(name)
            if resident is not None:
                self._keys.move_to_end(name)
                resident.users += 1
            return resident

    def _kept(self, name: Name, loaded: Resident) -> Resident:
        """Keep what was loaded; if another thread was faster with the same key, theirs stays and ours goes."""
        with self._lock:
            resident = self._keys.setdefault(name, loaded)
            resident.users += 1
            gone = self._surplus() if resident is loaded else [loaded]
        self._destroy(gone)
        return resident

    def _surplus(self) -> list[Resident]:
        excess = max(0, len(self._keys) - self._limit)
        idle = (name for name, resident in self._keys.items() if not resident.users)
        names = [name for name, _ in zip(idle, range(excess), strict=False)]
        return [self._keys.pop(name) for name in names]

    def _returned(self, resident: Resident) -> None:
        """What could not leave while it was used leaves now: more keys in use at once than the limit is allowed."""
        with self._lock:
            resident.users -= 1
            gone = [resident] if resident.condemned and not resident.users else []
            gone += self._surplus()
        self._destroy(gone)

    def _destroy(self, residents: list[Resident]) -> None:
        """An error here means that the connection is lost, and the session objects with it."""
        for resident in residents:
            if resident.temporary:
                with self._anchored, suppress(PKCS11Error):
                    resident.key.destroy()


def _condemn(resident: Resident) -> bool:
    """Mark it as leaving. Is it free to go now?"""
    resident.condemned = True
    return not resident.users
