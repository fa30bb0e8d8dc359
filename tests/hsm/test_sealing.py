from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import Tampered
from hsm.sealing import row_mac, seal, verify_row_mac
from tests.support.memory_device import MemoryDevice

DEVICE = MemoryDevice()
ROWS = st.tuples(st.text(), st.text(), st.text(), st.binary(), st.integers(0, 2**63))

MOVES: dict[str, tuple[str, str, str, bytes, int]] = {
    "another table": ("codes", "s1", "alice", b"content", 1),
    "another row": ("seeds", "s2", "alice", b"content", 1),
    "another owner": ("seeds", "s1", "bob", b"content", 1),
    "another content": ("seeds", "s1", "alice", b"contenT", 1),
    "another version": ("seeds", "s1", "alice", b"content", 2),
    "a border moved": ("seed", "ss1", "alice", b"content", 1),
    "owner and content run together": ("seeds", "s1", "alicec", b"ontent", 1),
    "parts exchanged": ("s1", "seeds", "alice", b"content", 1),
}


@given(ROWS, ROWS)
def test_two_rows_share_a_mac_only_if_they_are_the_same(
    one: tuple[str, str, str, bytes, int], two: tuple[str, str, str, bytes, int]
) -> None:
    assert (row_mac(DEVICE, *one) == row_mac(DEVICE, *two)) == (one == two)


@pytest.mark.parametrize("name", list(MOVES))
def test_a_row_that_was_changed_or_moved_is_refused(name: str) -> None:
    mac = row_mac(DEVICE, "seeds", "s1", "alice", b"content", 1)
    with pytest.raises(Tampered):
        verify_row_mac(DEVICE, *MOVES[name], mac)


@pytest.mark.parametrize("mac", [b"", bytes(32), bytes(31), bytes(33)])
def test_what_is_no_mac_is_refused(mac: bytes) -> None:
    with pytest.raises(Tampered):
        verify_row_mac(DEVICE, "seeds", "s1", "alice", b"content", 1, mac)


def test_a_truncated_or_prolonged_mac_is_refused() -> None:
    mac = row_mac(DEVICE, "seeds", "s1", "alice", b"content", 1)
    for wrong in (mac[:-1], mac + b"\0"):
        with pytest.raises(Tampered):
            verify_row_mac(DEVICE, "seeds", "s1", "alice", b"content", 1, wrong)


def test_only_small_secrets_with_an_owner_are_sealed() -> None:
    with pytest.raises(ValueError, match="owner"):
        seal(DEVICE, "", b"secret")
    with pytest.raises(ValueError, match="64 KiB"):
        seal(DEVICE, "owner", bytes(64 * 1024 + 1))
