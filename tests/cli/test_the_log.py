from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.terminal import Terminal


@pytest.fixture
def keeper(terminal: Terminal) -> Terminal:
    """An operator at a server where something has happened, all of it sequenced."""
    terminal.signatory()
    _await_the_sequencer(terminal)
    return terminal


def _await_the_sequencer(terminal: Terminal) -> None:
    database = terminal.database()
    until = time.monotonic() + 20
    while True:
        with database.read() as tx:
            if not tx.execute(text("SELECT count(*) FROM entry WHERE leaf_index IS NULL")).scalar_one():
                break
        assert time.monotonic() < until, "entries wait for their place"
        time.sleep(0.05)
    database.close()


def _tampered(terminal: Terminal, statement: str) -> None:
    database = terminal.database()
    with database.write() as tx:
        assert tx.execute(text(statement)).rowcount > 0
    database.close()


def test_a_log_that_nobody_touched_is_proven_whole(keeper: Terminal) -> None:
    key = keeper.asks("audit", "key")[0]["key"]
    report = keeper.asks("audit", "verify", "--key", key)
    assert report["ok"]
    assert report["proven"]


TAMPERING = {
    "a body": "UPDATE entry SET body = replace(body, 'operator', 'operater') WHERE leaf_index = 1",
    "a column beside the body": "UPDATE entry SET actor = 'operator:op_x' WHERE leaf_index = 1",
    "an entry gone": "DELETE FROM entry WHERE leaf_index = 2",
    "two entries exchanged": "UPDATE entry SET leaf_index = CASE leaf_index WHEN 1 THEN -1 ELSE leaf_index END "
                             "WHERE leaf_index = 1",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
def test_whoever_changes_the_database_is_found(keeper: Terminal, statement: str) -> None:
    _tampered(keeper, statement)
    assert "✗" in keeper("audit", "verify", exits=1).out


def test_an_export_is_verified_without_the_server(keeper: Terminal, tmp_path: Path) -> None:
    exported, kept, key = (str(tmp_path / name) for name in ("log.jsonl", "checkpoint", "key"))
    Path(key).write_text(keeper.asks("audit", "key")[0]["key"] + "\n")
    keeper("audit", "checkpoint", "--out", kept)
    keeper("audit", "export", exported)
    assert keeper.asks("audit", "verify", exported, "--checkpoint", kept, "--key", key)["ok"]
    lines = Path(exported).read_text().splitlines()
    Path(exported).write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    assert not keeper.asks("audit", "verify", exported, "--checkpoint", kept, "--key", key, exits=1)["ok"]


def test_an_export_never_overwrites_a_file(keeper: Terminal, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("something else")
    keeper("audit", "export", str(there), exits=2)
    assert there.read_text() == "something else"


def test_a_checkpoint_that_the_logs_key_did_not_sign_is_refused(keeper: Terminal, tmp_path: Path) -> None:
    forged = tmp_path / "checkpoint"
    origin, size, *rest = keeper("audit", "checkpoint").out.split("\n")
    forged.write_text("\n".join([origin, str(int(size) + 1), *rest]))
    keeper("audit", "verify", "--checkpoint", str(forged), exits=2)


def test_whoever_reads_stands_in_the_log(keeper: Terminal) -> None:
    keeper("audit", "search")
    found = keeper.entries("audit:read")
    assert {each["actor"] for each in found} == {f"operator:{keeper.operator}"}


def test_an_entry_is_proven_to_be_in_the_log(keeper: Terminal) -> None:
    entry = keeper.entries("signatory:add")[0]
    proof = keeper.asks("audit", "prove", entry["id"])
    assert proof["index"] == entry["index"]
    assert keeper.asks("audit", "show", entry["id"])["leaf_hash"] == proof["leaf_hash"]


def test_the_month_is_reported(keeper: Terminal, tmp_path: Path) -> None:
    sheet = tmp_path / "month.csv"
    report = keeper.asks("report", "monthly", "2026-11", "--csv", str(sheet))
    assert report["month"] == "2026-11"
    assert sheet.read_text().startswith("agency_code,")
    keeper("report", "monthly", "November", exits=2)


def test_a_policy_is_checked_explained_activated_and_shown(keeper: Terminal, tmp_path: Path) -> None:
    assert keeper.asks("policy", "check", "pilot")["examples"] > 10
    assert "Permitted when" in keeper("policy", "explain", "default").out
    activated = keeper.asks("policy", "activate", "pilot")["sha256"]
    assert 'title = "Pilot' in keeper("policy", "show").out
    keeper("policy", "activate", "default")
    assert 'title = "Pilot' in keeper("policy", "show", activated).out
    assert [each["active"] for each in keeper.asks("policy", "list")].count(True) == 1


def test_a_policy_that_breaks_its_own_examples_is_refused_with_the_line(keeper: Terminal, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(Path("policies/pilot.toml").read_text().replace("daily_personal = 50", "daily_personal = 5000"))
    refused = keeper("policy", "activate", str(wrong), exits=2)
    assert "line" in refused.err
    keeper("policy", "show", exits=5)


NO_RECEIPTS = {"broken": ("{", 2), "deep": ("[" * 100_000, 2), "a list": ("[]", 2), "other": ('{"format": 1}', 1)}


@pytest.mark.parametrize(("content", "exits"), NO_RECEIPTS.values(), ids=NO_RECEIPTS.keys())
def test_a_file_that_is_no_receipt_proves_nothing(
    terminal: Terminal, tmp_path: Path, content: str, exits: int,
) -> None:
    file = tmp_path / "receipt.json"
    file.write_text(content, encoding="utf-8")
    terminal("audit", "receipt", str(file), exits=exits)
