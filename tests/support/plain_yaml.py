"""Reads the plain part of YAML that our files keep to, and refuses everything else.

Mappings and lists by indentation (two spaces), inline lists, quoted or bare scalars, comments on lines of their
own. No anchors, no folded texts, no tabs: what this reads, every YAML parser reads in the same way.
"""

from __future__ import annotations

import json
import re
from typing import Any

Lines = list[tuple[int, int, str]]  # number, indentation, content

KEY = re.compile(r"([A-Za-z_][\w.-]*):(?: (.+))?")
BARE = re.compile(r"(?:--)?[\w./](?:[\w./=-]|:(?=[\w./]))*")


class NotPlain(ValueError):
    """A line outside the plain part of YAML; the message names it."""


def read(text: str) -> Any:
    """The document. NotPlain with the line's number for anything unexpected."""
    lines = [_split(number, line) for number, line in enumerate(text.splitlines(), 1) if _has_content(line)]
    value, rest = _block(lines, 0)
    if rest:
        raise NotPlain(f"line {rest[0][0]}: unexpected indentation")
    return value


def _has_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _split(number: int, line: str) -> tuple[int, int, str]:
    content = line.lstrip(" ")
    indent = len(line) - len(content)
    if indent % 2 or "\t" in line or line != line.rstrip():
        raise NotPlain(f"line {number}: tabs, odd indentation or blanks at the end")
    return number, indent, content


def _block(lines: Lines, indent: int) -> tuple[Any, Lines]:
    if lines[0][2].startswith("- "):
        return _list(lines, indent)
    return _mapping(lines, indent)


def _mapping(lines: Lines, indent: int) -> tuple[dict[str, Any], Lines]:
    found: dict[str, Any] = {}
    while lines and lines[0][1] == indent and not lines[0][2].startswith("- "):
        number, _, content = lines[0]
        match = KEY.fullmatch(content)
        if match is None or match[1] in found:
            raise NotPlain(f"line {number}: not a key, or a key for the second time")
        found[match[1]], lines = _value(match[2], number, lines[1:], indent)
    return found, lines


def _list(lines: Lines, indent: int) -> tuple[list[Any], Lines]:
    found: list[Any] = []
    while lines and lines[0][1] == indent and lines[0][2].startswith("- "):
        number, _, content = lines[0]
        item = content[2:]
        if KEY.fullmatch(item):
            value, lines = _mapping([(number, indent + 2, item), *lines[1:]], indent + 2)
        else:
            value, lines = _scalar(item, number), lines[1:]
        found.append(value)
    return found, lines


def _value(word: str | None, number: int, rest: Lines, indent: int) -> tuple[Any, Lines]:
    if word is not None:
        return _scalar(word, number), rest
    if not rest or rest[0][1] != indent + 2:
        raise NotPlain(f"line {number}: a key without a value")
    return _block(rest, indent + 2)


def _scalar(word: str, number: int) -> Any:
    if word == "{}":
        return {}
    if word.startswith("["):
        return [_scalar(item.strip(), number) for item in re.findall(r'"[^"]*"|[^\s,\[\]]+', word)]
    if word.startswith("'"):
        return _single(word, number)
    if word.startswith('"'):
        return json.loads(word)
    if not BARE.fullmatch(word) and not re.fullmatch(r"-?[0-9]+", word):
        raise NotPlain(f"line {number}: {word!r} must be quoted")
    return int(word) if re.fullmatch(r"-?[0-9]+", word) else {"true": True, "false": False}.get(word, word)


def _single(word: str, number: int) -> str:
    if not re.fullmatch(r"'(?:[^']|'')*'", word):
        raise NotPlain(f"line {number}: quotes that do not match")
    return word[1:-1].replace("''", "'")
