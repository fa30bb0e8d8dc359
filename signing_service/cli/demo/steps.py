"""Showing steps as they happen: each with its sign, its time and, where it helps, what came out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from signing_service.cli.screen import plain


@dataclass
class Said:
    """What a step has to say when it is done."""

    words: list[str] = field(default_factory=list)

    def say(self, text: object) -> None:
        self.words.append(plain(text))


@dataclass
class Steps:
    """On the terminal as it happens, and afterwards as Markdown."""

    console: Console
    _lines: list[str] = field(default_factory=list)

    def chapter(self, title: str) -> None:
        self.console.print(Text(f"\n{title}", "bold"))
        self._lines.append(f"\n## {title}\n")

    @contextmanager
    def step(self, sentence: str) -> Iterator[Said]:
        """✓ when the block ends, ✗ when it raises."""
        said, begun = Said(), time.perf_counter()
        try:
            with self.console.status(Text(f"{sentence} …")):
                yield said
        except BaseException:
            self._ended("✗", "red", sentence, said, begun)
            raise
        self._ended("✓", "green", sentence, said, begun)

    def _ended(self, mark: str, colour: str, sentence: str, said: Said, begun: float) -> None:
        seconds = time.perf_counter() - begun
        self.console.print(Text(f" {mark} ", colour) + Text(sentence) + Text(f"  {seconds:.2f} s", "dim"))
        for word in said.words:
            self.console.print(Text(f"     {word}", "cyan"))
        self._lines.append(f"- {mark} {sentence} ({seconds:.2f} s)")
        self._lines += [f"  - {word}" for word in said.words]

    def write(self, file: Path, title: str) -> None:
        file.write_text(f"# {title}\n" + "\n".join(self._lines) + "\n", encoding="utf-8")
