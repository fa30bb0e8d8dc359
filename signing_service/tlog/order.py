"""Which entries are out of their place.

Every line is known by its true index (the entry it is), or None when it is no entry of this log. Read from the
left, with one line of foresight, that is enough to tell a removal from an insertion, a replacement and a swap.
"""

from __future__ import annotations

from collections.abc import Iterator

from signing_service.tlog.findings import Findings, Kind

_REMEMBERED = 2_000  # entries out of place that are told apart; beyond that they are only counted


class Order:
    """Collects what is missing and what is too much; names it when everything has been read.

    `expected` is the index that the next line should have.
    """

    def __init__(self, start: int) -> None:
        self.expected = start
        self._missing: list[tuple[int, int]] = []  # first and last, both included
        self._displaced: dict[int, int] = {}  # an entry seen out of its place -> the place where it was seen
        self._unknown: dict[int, int] = {}  # place -> lines there that are no entry of this log
        self._forgotten = 0

    @property
    def clean(self) -> bool:
        return not (self._missing or self._displaced or self._unknown or self._forgotten)

    def missing(self) -> Iterator[int]:
        """Entries whose place has been passed without them, in order."""
        for first, last in self._missing:
            yield from range(first, last + 1)

    def seen(self, index: int) -> bool:
        """Has this entry been read already, out of its place?"""
        return index in self._displaced

    def place(self, index: int | None, following: int | None) -> None:
        """The next line is entry `index`; the one after it will be `following`."""
        here = self.expected
        if index == here:
            self.expected += 1
            return
        if index is None:
            self._remember(self._unknown, here, self._unknown.get(here, 0) + 1)
        replaced = following == here + 1 or (index is None and following != here)
        skipped = index is not None and index > here and following not in (here, here + 1)
        if skipped and index is not None:
            self._miss(here, index - 1)
            self.expected = index + 1
            return
        if index is not None:
            self._remember(self._displaced, index, here)
        if replaced:
            self._miss(here, here)
            self.expected += 1

    def end(self, end: int) -> None:
        """Nothing follows. Entries that were seen too early and never in their place are not cut off."""
        early = [index for index in self._displaced if index >= self.expected]
        if early:
            last = max(end - 1, *early)
            self._miss(self.expected, last)
            self.expected = last + 1

    def report(self, findings: Findings) -> None:
        """Name everything out of place."""
        accounted: set[int] = set()
        for first, last in self._missing:
            found = sorted(index for index in self._displaced if first <= index <= last)
            accounted.update(found)
            self._report_gap(first, last, found, findings)
        for index in sorted(self._displaced.keys() - accounted):
            where = self._displaced[index]
            text = f"entry {index} is given a second time, where entry {where} belongs"
            findings.add(Kind.INSERTED, text, index)
        for where, count in sorted(self._unknown.items()):
            text = f"{count} line(s) before entry {where} that are no entry of this log"
            findings.add(Kind.INSERTED, text, where)
        if self._forgotten:
            findings.add(Kind.CHANGED, f"{self._forgotten} more differences, too many to tell apart")

    def _report_gap(self, first: int, last: int, found: list[int], findings: Findings) -> None:
        for index in found:
            where = self._displaced[index]
            findings.add(Kind.REORDERED, f"entry {index} stands where entry {where} belongs", index)
            self._report_absent(first, index - 1, findings)
            first = index + 1
        self._report_absent(first, last, findings)

    def _report_absent(self, first: int, last: int, findings: Findings) -> None:
        if first > last:
            return
        if first == last and self._unknown.get(first):
            self._unknown[first] -= 1
            if not self._unknown[first]:
                del self._unknown[first]
            findings.add(Kind.CHANGED, f"another entry stands in the place of entry {first}", first)
            return
        findings.add(Kind.REMOVED, f"{_these(first, last)} missing", first, last)

    def _miss(self, first: int, last: int) -> None:
        if len(self._missing) < _REMEMBERED:
            self._missing.append((first, last))
        else:
            self._forgotten += 1

    def _remember(self, seen: dict[int, int], key: int, value: int) -> None:
        if key in seen or len(seen) < _REMEMBERED:
            seen[key] = value
        else:
            self._forgotten += 1


def _these(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"
