"""One pass over the lines of a log, comparing roots at every checkpoint it reaches.

Two things are watched at once. The roots decide: they show that a stretch is exactly what a checkpoint covers.
The order explains: it knows each line by its trusted leaf hash, or for want of one by its number, and says
which entry was changed, removed, moved or put in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from signing_service.errors import SigningError
from signing_service.tlog.entries import EntryInvalid, EntryLine, entry_hash
from signing_service.tlog.findings import Findings, Kind
from signing_service.tlog.leaves import TrustedLeaves
from signing_service.tlog.note import Checkpoint
from signing_service.tlog.order import Order
from signing_service.tlog.tree import Frontier, NodeAt

Line = EntryLine | str | bytes

_NEARBY = 256  # how far from its place an entry is looked for; further away it counts as unknown
_SEARCHES = 2_000  # a log rewritten from end to end is not worth a search for every line


@dataclass(frozen=True)
class Mark:
    """A checkpoint, and in words where it comes from."""

    checkpoint: Checkpoint
    held: str

    @property
    def size(self) -> int:
        return self.checkpoint.size

    def __str__(self) -> str:
        return f"the {self.held} checkpoint of {self.size} entries"


@dataclass(frozen=True)
class _Read:
    line: EntryLine
    computed: bytes  # the leaf hash of the body itself

    @property
    def hashes(self) -> tuple[bytes, bytes]:
        return self.line.leaf_hash, self.computed


class _Roots:
    """The root over recorded leaf hashes and the root over the bodies' own; one frontier until they differ."""

    def __init__(self, frontier: Frontier) -> None:
        self._recorded = self._computed = frontier

    @property
    def size(self) -> int:
        return self._computed.size

    def push(self, recorded: bytes, computed: bytes) -> None:
        if self._recorded is self._computed and recorded != computed:
            self._recorded = self._computed.copy()
        self._computed.push(computed)
        if self._recorded is not self._computed:
            self._recorded.push(recorded)

    def lead_to(self, checkpoint: Checkpoint, beyond: NodeAt | None) -> bool:
        """Is either of them, continued by stored hashes where it is shorter, the checkpoint's root?"""
        for frontier in (self._recorded, self._computed):
            ahead = frontier.copy()
            if beyond:
                ahead.fill(checkpoint.size, beyond)
            if ahead.root() == checkpoint.root:
                self._recorded = self._computed = frontier
                return True
        return False


class Reading:
    """Reads sequenced entries from `start`; there must be entries up to `end`.

    `marks` are the checkpoints to compare with. `beyond` gives stored hashes for what is not read: with it the
    reading is of a range, and nothing may come after `end`.
    """

    def __init__(
        self, start: int, end: int, marks: Sequence[Mark], leaves: TrustedLeaves, beyond: NodeAt | None = None
    ) -> None:
        self.findings = Findings()
        self.passed: list[Mark] = []
        self.count = self.waiting = 0
        self.sound = start  # entries from `start` up to here are exactly those of a checkpoint
        self._start, self._end, self._beyond = start, end, beyond
        self._marks = sorted(marks, key=lambda mark: mark.size)
        self._leaves = leaves
        self._order = Order(start)
        self._searches = 0
        self._roots: _Roots | None = None  # None once roots can no longer be compared

    @property
    def reached(self) -> int:
        """One more than the last entry read."""
        return self._order.expected

    def run(self, lines: Iterable[Line]) -> None:
        self._begin()
        current: _Read | None = None
        for following in self._sequenced(lines):
            if current is not None:
                self._take(current, following)
            current = following
        if current is not None:
            self._take(current, None)
        self._end_range()
        self._report()

    def _begin(self) -> None:
        try:
            self._roots = _Roots(Frontier.at(self._start, self._beyond) if self._beyond else Frontier())
        except SigningError as error:
            self.findings.add(Kind.BAD_HASHES, f"before the range: {error.message}", 0)
        self._pass_marks()

    def _sequenced(self, lines: Iterable[Line]) -> Iterator[_Read]:
        for number, text in enumerate(lines, start=1):
            if not isinstance(text, EntryLine) and not text.strip():
                continue
            try:
                line = text if isinstance(text, EntryLine) else EntryLine.parse(text)
                read = _Read(line, entry_hash(line.body))
            except EntryInvalid as error:
                self.findings.add(Kind.MALFORMED, f"line {number}: {error.message}")
                continue
            if line.index is None:
                self._wait(number, read)
            else:
                yield read

    def _wait(self, number: int, read: _Read) -> None:
        self.waiting += 1
        if read.computed != read.line.leaf_hash:
            text = f"line {number}, not yet sequenced: the body is not what its leaf hash says"
            self.findings.add(Kind.CHANGED, text)

    def _take(self, read: _Read, following: _Read | None) -> None:
        here, was_clean = self._order.expected, self._order.clean
        index = self._identify(read, 0)
        self._order.place(index, None if index == here else self._foresee(following, index))
        self._check_itself(read, index, here)
        self.count += 1
        if was_clean and not self._order.clean:
            self._roots = None
        if self._roots:
            self._roots.push(*read.hashes)
            self._pass_marks()

    def _check_itself(self, read: _Read, index: int | None, here: int) -> None:
        if read.computed != read.line.leaf_hash:
            named = here if index is None else index
            self.findings.add(Kind.CHANGED, f"the body of entry {named} is not what its leaf hash says", named)
        elif index is not None and read.line.index not in (index, self._start + self.count):
            self.findings.add(Kind.CHANGED, f"entry {index} is numbered {read.line.index}", index)

    def _foresee(self, following: _Read | None, index: int | None) -> int | None:
        """Where the log must end is known as well, so the last line can be judged like any other."""
        if following is not None:
            return self._identify(following, 1)
        return self._end if index is None or index < self._end else None

    def _identify(self, read: _Read, ahead: int) -> int | None:
        """Which entry is this line, the next one or the one `ahead` of it? None: no entry of this log."""
        here = self._order.expected
        trusted = self._leaves.at(here)
        if trusted is None:
            return self._by_number(read, here, ahead)
        if trusted in read.hashes:
            return here
        if self._leaves.at(here + 1) in read.hashes:
            return here + 1
        return self._search(read, here)

    def _by_number(self, read: _Read, here: int, ahead: int) -> int | None:
        """Above every checkpoint a line is the entry it says it is; but where lines before it are missing or
        too many, and it was numbered again to hide that, it is the next one."""
        number = read.line.index
        shifted = number == self._start + self.count + ahead and not self._order.seen(here)
        return here + ahead if shifted and self._leaves.at(self._start) else number

    def _search(self, read: _Read, here: int) -> int | None:
        self._searches += 1
        if self._searches > _SEARCHES:
            return None
        candidates = [read.line.index] if read.line.index is not None else []
        candidates += [index for index, _ in zip(self._order.missing(), range(_NEARBY), strict=False)]
        candidates += [*range(here, here + _NEARBY + 1), *range(max(here - _NEARBY, self._start), here)]
        found = (index for index in candidates if self._leaves.at(index) in read.hashes)
        return next(found, self._unjudged(read))

    def _unjudged(self, read: _Read) -> int | None:
        """An entry with a number that no checkpoint covers can only be taken by its number."""
        number = read.line.index
        return None if number is None or self._leaves.at(number) else number

    def _pass_marks(self) -> None:
        """Compare roots at every checkpoint whose size has just been reached."""
        while self._roots and self._marks and self._marks[0].size <= self._roots.size:
            self._compare(self._marks.pop(0), None)

    def _end_range(self) -> None:
        """Go on with stored hashes from the end of the range to each checkpoint above it."""
        while self._beyond and self._roots and self._roots.size == self._end and self._marks:
            try:
                self._compare(self._marks.pop(0), self._beyond)
            except SigningError as error:
                self.findings.add(Kind.BAD_HASHES, f"after the range: {error.message}", self._end)

    def _compare(self, mark: Mark, beyond: NodeAt | None) -> None:
        roots = self._roots
        if roots is None:
            return
        if roots.lead_to(mark.checkpoint, beyond):
            self.sound = roots.size
            self.passed.append(mark)
            return
        last = max(roots.size - 1, self.sound)
        text = f"somewhere in entries {self.sound} to {last} the log is not that of {mark}"
        self.findings.add(Kind.REWRITTEN, text, self.sound, last)
        self._roots = None

    def _report(self) -> None:
        self._order.end(self._end)
        self._order.report(self.findings)
        reached = self.reached
        if reached < self._end:
            lost = self._end - reached
            text = f"{lost} too few: the log ends before entry {reached}, or earlier entries are missing"
            self.findings.add(Kind.TRUNCATED, text, reached, self._end - 1)
        if self._beyond and reached > self._end:
            self.findings.add(Kind.INSERTED, "lines after the end of the range", self._end, reached - 1)
        if self._leaves.damaged is not None:
            text = "the stored hashes of the tree do not lead to the checkpoint"
            self.findings.add(Kind.BAD_HASHES, text, self._leaves.damaged)
