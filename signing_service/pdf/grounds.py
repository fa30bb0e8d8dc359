"""What was read of documents that were looked at lately, for when they are prepared: so that nobody reads them twice.

Kept by the digest that is a document's name in the store, and believed by nobody: the worker that prepares compares
the digest of what it reads, and where nothing is kept, or something else, it reads the document itself.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

from signing_service.pdf.work import Ground, Look

_MOST: Final = 2_048            # a kilobyte or two each
_LARGEST: Final = 32 << 10      # bytes; a worker sends half of that, unless it was taken over


class Grounds:
    """The latest of them. Belongs to one event loop, as the pool does."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Ground] = OrderedDict()

    def keep(self, look: Look) -> None:
        ground = look.ground
        if ground is None or ground.digest != look.digest or ground.size > _LARGEST:
            return
        self._kept[ground.digest] = ground
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def of(self, document: Path) -> Ground | None:
        """What is known of a document in the store; None for any other name."""
        return self._kept.get(document.name)
