"""Passwords of auditors and operators: what is good enough, and how it is kept (argon2id, RFC 9106).

A password is only half of a sign-in; the other half is a one-time code, whose seed no database holds. What is kept
of a password is worth nothing without 64 MiB and a seventh of a second for each guess.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Callable, Collection
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from signing_service.errors import FieldError, Invalid, Unavailable

T = TypeVar("T")

SHORTEST, LONGEST = 12, 200  # characters
FEWEST = 5                   # different characters: `aaaaaaaaaaaa` is no password
AT_ONCE = 2                  # hashes at a time, 128 MiB together
IN_LINE = 8                  # more of them waiting than this come back later: three quarters of a second

# RFC 9106 4, second recommended option. Measured here: 150 ms, three sign-ins a second on each of two cores.
HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4, hash_len=32, salt_len=16, type=Type.ID)
# For somebody who has no password: as much work as a real one, and nothing known leads to it.
NOBODY = ("$argon2id$v=19$m=65536,t=3,p=4$T4Nq3+AgL0M9DwGTfHkH7w"
          "$2kEoIo7hnMTbwOcYDCNZ0J3rkHiIDkV0MoJSbg7mEfQ")
OBVIOUS = frozenset((
    "administrator", "quantrivien", "quantrihethong", "kiemtoanvien", "matkhau", "password", "kysotaptrung", "chukyso",
    "hanoi", "vietnam", "iloveyou", "anhyeuem", "qwertyuiop", "asdfghjkl", "letmein", "welcome", "changeme",
    "abcdefghijkl",
))
ADDED = re.compile(r"^[\W\d_]*|[\W\d_]*$")  # what people put before and behind a word so that it counts as a password


def spelled(text: str) -> str:
    """One spelling for what looks the same, however a keyboard composes its accents (Unicode NFC)."""
    return unicodedata.normalize("NFC", text)


def check(password: str, names: Collection[str]) -> None:
    """Raise Invalid (`password-short`, `-long`, `-obvious`) for what must not become somebody's password.

    `names`: what the person is called and signs in with.
    """
    text = spelled(password)
    if len(text) < SHORTEST:
        raise _refusal("password-short", f"A password has at least {SHORTEST} characters.")
    if len(text) > LONGEST:
        raise _refusal("password-long", f"A password has at most {LONGEST} characters.")
    core = _core(text)
    if len(set(text.casefold())) < FEWEST or not core or core in OBVIOUS | set(map(_core, names)):
        raise _refusal("password-obvious", "This password would be guessed at once.")


def _core(text: str) -> str:
    """The word without accents, blanks, capitals, and what was added around it; nothing is left of numbers."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("đ", "d"))
    letters = "".join(each for each in plain if not unicodedata.combining(each) and not each.isspace())
    return ADDED.sub("", letters)


def _refusal(code: str, message: str) -> Invalid:
    return Invalid(message, code=code, errors=(FieldError("password", message),))


class Hashing:
    """Hashes in threads, a few at a time, so that no crowd at the door takes the memory of everything else."""

    def __init__(self, *, at_once: int = AT_ONCE, in_line: int = IN_LINE) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._most, self._inside = at_once + in_line, 0

    async def hash(self, password: str) -> str:
        """What to keep of a password. Raises Unavailable when too many are waiting."""
        return await self._in_turn(lambda: HASHER.hash(spelled(password)))

    async def matches(self, kept: str | None, password: str) -> bool:
        """Is it this one? The same work where nothing is kept. Raises Unavailable when too many are waiting."""
        return await self._in_turn(lambda: _matches(kept, password))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._inside >= self._most:
            raise Unavailable("Many people sign in at this moment.", code="sign-ins-busy", retry_after=2)
        self._inside += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work)
        finally:
            self._inside -= 1


def _matches(kept: str | None, password: str) -> bool:
    shown = password if len(password) <= 4 * LONGEST else ""  # whatever somebody pastes, the work stays the same
    try:
        return HASHER.verify(kept or NOBODY, spelled(shown)) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(kept: str) -> bool:
    """Was it made with other parameters than today's? Then it is made again when the password is next at hand."""
    return HASHER.check_needs_rehash(kept)
