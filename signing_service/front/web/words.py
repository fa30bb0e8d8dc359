"""What the screens say, in Vietnamese and English: one TOML file an area, one table a sentence.

    ["phone.waiting.title"]
    vi = "Chờ tôi ký"
    en = "Waiting for me"

A sentence is plain text: the page escapes it and whatever fills it. Unknown keys are errors, and tests hold that
both languages are complete.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

HERE = Path(__file__).with_name("words")
Sentences = Mapping[str, Mapping[str, str]]


@cache
def catalogue() -> Sentences:
    """Every sentence by key, then language. ValueError for a key that two files have, or one that lacks a language."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(HERE.glob("*.toml")):
        for key, said in tomllib.loads(file.read_text(encoding="utf-8")).items():
            if key in found or set(said) != {"vi", "en"} or not all(said.values()):
                raise ValueError(f"{file.name}: {key!r} is there twice, or not in exactly vi and en")
            found[key] = said
    return MappingProxyType(found)


def say(language: str, key: str, **values: object) -> str:
    """The sentence, filled. KeyError for an unknown key or a missing value."""
    return catalogue()[key][language].format_map(values) if values else catalogue()[key][language]


def has(key: str) -> bool:
    """Is there such a sentence?"""
    return key in catalogue()
