from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from signing_service.db.tables import account, client
from tests.support.terminal import Terminal


def test_the_first_operator_is_made_once(stranger: Terminal) -> None:
    stranger.bootstraps()
    assert "Ask them to add you" in stranger("bootstrap", "Somebody else", exits=6).err


def test_the_seed_is_shown_as_a_qr_code_and_can_be_kept_as_a_picture_for_nobody_else(
    stranger: Terminal, tmp_path: Path
) -> None:
    picture = tmp_path / "seed.png"
    shown = stranger("bootstrap", "Trần Thị Bình", "--qr", str(picture))
    assert "otpauth://totp/" in shown.out
    assert "▀" in shown.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600


def test_a_second_operator_has_a_code_of_their_own(terminal: Terminal) -> None:
    made = terminal.asks("operator", "add", "Lê Quang Dũng")
    terminal("code", "complete", "Lê Quang Dũng", terminal.office.fresh_code(made["uri"]))
    terminal.sits_down("Lê Quang Dũng", made["uri"])
    terminal.asks("agency", "add", "H26.2", "Phường Ngọc Hà", "--level", "ward")
    assert terminal.entries("agency:change")[-1]["actor"] == f"operator:{made['id']}"


def test_a_suspended_operator_does_nothing_more(terminal: Terminal) -> None:
    made = terminal.asks("operator", "add", "Lê Quang Dũng")
    terminal("code", "complete", made["id"], terminal.office.fresh_code(made["uri"]))
    terminal("operator", "suspend", made["id"])
    terminal.sits_down(made["id"], made["uri"])
    assert "suspended" in terminal("agency", "close", "H26", exits=3).err


def test_the_last_operator_stays(terminal: Terminal) -> None:
    assert "last" in terminal("operator", "suspend", terminal.operator, exits=6).err


REFUSED_BEFORE_THE_SIGNER = {
    "nobody said who they are": (None, "123456", 3, "SIGNING_OPERATOR"),
    "an operator that does not exist": ("op_" + "0" * 32, "123456", 5, "no operator"),
    "no code, and no terminal to ask at": ("me", "", 3, "SIGNING_OPERATOR_CODE"),
    "five digits": ("me", "12345", 2, "six digits"),
    "full-width digits": ("me", "１２３４５６", 2, "six digits"),
    "letters": ("me", "abcdef", 2, "six digits"),
    "a wrong code": ("me", "000000", 3, "not accepted"),
}


@pytest.mark.parametrize(
    ("who", "code", "exits", "why"), REFUSED_BEFORE_THE_SIGNER.values(), ids=REFUSED_BEFORE_THE_SIGNER.keys())
def test_an_act_is_refused(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, who: str | None, code: str, exits: int, why: str
) -> None:
    if who is None:
        monkeypatch.delenv("SIGNING_OPERATOR")
    elif who != "me":
        monkeypatch.setenv("SIGNING_OPERATOR", who)
    answer = terminal("operator", "add", "Lê Quang Dũng", code=code, exits=exits)
    assert why in answer.err
    monkeypatch.setenv("SIGNING_OPERATOR", terminal.operator)
    assert [each["name"] for each in terminal.asks("operator", "list")] == ["Trần Thị Bình"]


def test_one_code_is_good_for_one_act(terminal: Terminal) -> None:
    code = terminal.office.fresh_code(terminal.uri)
    terminal("operator", "add", "Lê Quang Dũng", code=code)
    terminal("operator", "add", "Phạm Thu Hà", code=code, exits=3)


def test_a_lock_is_opened_by_an_operator_and_stands_in_the_log(terminal: Terminal) -> None:
    terminal.signatory()
    terminal("code", "enrol", "CB-1")
    terminal("code", "unlock", "CB-1")
    assert terminal.entries("code:unlocked")


def test_an_auditor_whom_wrong_passwords_locked_out_is_let_in_again_by_an_operator(terminal: Terminal) -> None:
    auditor = terminal.asks("auditor", "add", "Phạm Thị Dung", "--agency", "*")["id"]
    terminal("code", "enrol", auditor)
    database = terminal.database()
    with database.write() as tx:
        tx.execute(insert(account).values(
            owner=auditor, password_hash="-", changed_at=datetime.now(UTC), failures=5,
            locked_until=datetime.now(UTC) + timedelta(hours=24)))
    terminal("code", "unlock", auditor)
    with database.read() as tx:
        assert tx.execute(select(account.c.failures, account.c.locked_until)).one() == (0, None)
    database.close()


def test_a_clients_secrets_are_shown_once_and_only_a_hash_is_kept(terminal: Terminal) -> None:
    made = terminal.asks("client", "add", "Văn bản", "--agency", "H26.1", "--webhook", "https://vb.example.vn/hook")
    assert made["webhook_secret"].startswith("whsec_")
    database = terminal.database()
    with database.read() as tx:
        row = tx.execute(select(client)).mappings().one()
    database.close()
    assert made["client_secret"] not in str(dict(row))
    assert made["client_secret"] not in terminal("client", "list").out


def test_a_new_secret_ends_the_old_one(terminal: Terminal) -> None:
    made = terminal.asks("client", "add", "Văn bản", "--agency", "*")
    rotated = terminal.asks("client", "rotate-secret", made["client_id"])
    assert rotated["client_secret"] != made["client_secret"]
    assert rotated["webhook_secret"] == made["webhook_secret"]


def test_a_client_is_suspended_and_resumed_on_record(terminal: Terminal) -> None:
    made = terminal.asks("client", "add", "Văn bản", "--agency", "*")
    terminal("client", "suspend", made["client_id"])
    assert terminal.asks("client", "list")[0]["state"] == "suspended"
    terminal("client", "resume", made["client_id"])
    assert [each["actor"] for each in terminal.entries("client:change")] == [f"operator:{terminal.operator}"] * 3


WRONG_REGISTRATIONS = {
    "an agency that is not there": (("client", "add", "X", "--agency", "H99"), 5),
    "a role that is none": (("client", "add", "X", "--agency", "*", "--role", "king"), 2),
    "a client that is not there": (("client", "suspend", "cl_" + "0" * 32), 5),
    "an agency twice": (("agency", "add", "H26", "Again", "--level", "city"), 6),
    "an agency under one that is not there": (("agency", "add", "H9.1", "X", "--level", "x", "--parent", "H9"), 5),
    "ending an agency that is not there": (("agency", "close", "H9"), 5),
}


@pytest.mark.parametrize(("words", "exits"), WRONG_REGISTRATIONS.values(), ids=WRONG_REGISTRATIONS.keys())
def test_a_wrong_registration_is_refused(terminal: Terminal, words: tuple[str, ...], exits: int) -> None:
    terminal(*words, exits=exits)


def test_an_agency_that_has_ended_cannot_end_again(terminal: Terminal) -> None:
    terminal("agency", "close", "H26.1")
    terminal("agency", "close", "H26.1", exits=5)


def test_a_seed_is_not_drawn_for_a_picture_that_cannot_be_written(stranger: Terminal, tmp_path: Path) -> None:
    picture = tmp_path / "seed.png"
    picture.write_bytes(b"another person's")
    assert "is there already" in stranger("bootstrap", "Trần Thị Bình", "--qr", str(picture), exits=2).err
    assert "Nothing can be written" in stranger("bootstrap", "An", "--qr", str(tmp_path / "no" / "x.png"), exits=2).err
    assert stranger.asks("operator", "list") == []


def test_a_webhook_that_can_never_be_called_is_refused_and_one_that_is_not_yet_is_named(terminal: Terminal) -> None:
    refused = terminal("client", "add", "Văn bản", "--agency", "H26.1", "--webhook", "ftp://vb.example.vn", exits=2)
    assert "http(s)://host" in refused.err
    accepted = terminal("client", "add", "Văn bản", "--agency", "H26.1", "--webhook", "https://vb.example.vn:8443/h")
    assert "vb.example.vn:8443 is not in SIGNING_OUTBOUND_HOSTS" in accepted.err


def test_a_user_whom_the_socket_is_not_for_is_told_so(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_socket: object, _address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("signing_service.wire.client.socket.socket.connect", connect)
    assert "not for this user" in terminal("operator", "add", "Lê Quang Dũng", exits=3).err
