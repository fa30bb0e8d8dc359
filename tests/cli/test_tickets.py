"""Tickets, phones and auditors at the terminal."""

from __future__ import annotations

import hashlib
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest

from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.support.terminal import Terminal

SECRET = "a" * 64
BROWSER = "b" * 64


def token_of(link: str) -> str:
    return link.rpartition("/enrol/")[2]


def opens(terminal: Terminal, link: str) -> m.TicketRedeemed:
    hashed = hashlib.sha256(SECRET.encode()).hexdigest()
    asked = m.RedeemTicket(token_of(link), BROWSER, hashed, "Điện thoại của An")
    return ask_once(terminal.office.rt.settings.sign_socket, asked, m.TicketRedeemed)


@pytest.fixture
def phone(terminal: Terminal) -> str:
    """The id of a phone that was enrolled with a link from the terminal."""
    terminal.signatory()
    opened = opens(terminal, terminal.asks("ticket", "issue", "CB-1")["link"])
    assert opened.uri is not None
    assert opened.phone_id is not None
    asked = m.CompletePhone(m.PhoneProof(opened.phone_id, SECRET), terminal.office.fresh_code(opened.uri))
    ask_once(terminal.office.rt.settings.sign_socket, asked, m.PhoneReady)
    return opened.phone_id


def test_a_link_is_shown_once_with_its_picture_and_its_end(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    terminal.signatory()
    monkeypatch.setenv("SIGNING_PUBLIC_URL", "https://ky.hanoi.example/")
    picture = tmp_path / "link.png"
    shown = terminal("ticket", "issue", "CB-1", "--hours", "2", "--png", str(picture))
    assert "https://ky.hanoi.example/enrol/" in shown.out
    assert "▀" in shown.out
    assert "until" in shown.out
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600


def test_a_link_lasts_as_long_as_was_asked_for(terminal: Terminal) -> None:
    terminal.signatory()
    until = datetime.fromisoformat(terminal.asks("ticket", "issue", "CB-1", "--hours", "2")["until"])
    assert abs(until - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=5)
    terminal("ticket", "issue", "CB-1", "--hours", "169", exits=2)


def test_an_existing_picture_is_not_written_over_and_no_link_is_lost(terminal: Terminal, tmp_path: Path) -> None:
    terminal.signatory()
    (tmp_path / "link.png").write_bytes(b"")
    terminal("ticket", "issue", "CB-1", "--png", str(tmp_path / "link.png"), exits=2)
    assert terminal.entries("ticket:issue") == []


def test_phones_are_listed_without_their_secrets_and_retired(terminal: Terminal, phone: str) -> None:
    listed = terminal.asks("phone", "list", "CB-1")
    assert [(each["id"], each["name"], each["state"]) for each in listed] == [(phone, "Nguyễn Văn An", "active")]
    assert not {"secret_hash", "stop_hash", "mac"} & set(listed[0])
    terminal("phone", "retire", phone, "--reason", "lost")
    assert terminal.asks("phone", "list")[0]["state"] == "retired"
    assert "retired already" in terminal("phone", "retire", phone, exits=6).err


def test_an_auditor_is_entered_for_some_agencies_or_for_every_one(terminal: Terminal) -> None:
    some = terminal.asks("auditor", "add", "Lê Văn C", "--agency", "H26.1")
    every = terminal.asks("auditor", "add", "Đỗ Thị D", "--every-agency")
    listed = {each["id"]: each["agencies"] for each in terminal.asks("auditor", "list")}
    assert listed == {some["id"]: ["H26.1"], every["id"]: ["*"]}


REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an auditor of nothing": (("add", "X"), 2, "--every-agency"),
    "an auditor of something and of everything": (("add", "X", "--agency", "H26", "--every-agency"), 2, "Name"),
    "an agency that is not there": (("add", "X", "--agency", "H99"), 5, "H99"),
    "a name that is taken": (("add", "Lê Văn C", "--every-agency"), 6, "already"),
    "somebody unknown": (("suspend", "X"), 5, "no auditor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(terminal: Terminal, name: str) -> None:
    words, exits, why = REFUSED[name]
    terminal.asks("auditor", "add", "Lê Văn C", "--agency", "H26.1")
    assert why in terminal("auditor", *words, exits=exits).err


def test_an_auditor_is_suspended_and_resumed_on_record(terminal: Terminal) -> None:
    made = terminal.asks("auditor", "add", "Lê Văn C", "--every-agency")
    terminal("auditor", "suspend", "Lê Văn C")
    terminal("ticket", "issue", "Lê Văn C", exits=6)
    terminal("auditor", "resume", made["id"])
    assert terminal.asks("auditor", "list")[0]["state"] == "active"
    assert len(terminal.entries("auditor:change")) == 2


def test_an_auditors_seed_can_be_drawn_at_the_terminal_too(terminal: Terminal) -> None:
    terminal.asks("auditor", "add", "Lê Văn C", "--every-agency")
    drawn: dict[str, Any] = terminal.asks("code", "enrol", "Lê Văn C")
    code = pyotp.parse_uri(drawn["uri"])
    assert isinstance(code, pyotp.TOTP)
    terminal("code", "complete", "Lê Văn C", terminal.office.fresh_code(drawn["uri"]))
