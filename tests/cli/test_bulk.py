from __future__ import annotations

from pathlib import Path

import pytest

from signing_service.cli import acts
from signing_service.cli.roster import read_roster
from signing_service.errors import Invalid
from tests.support.terminal import Terminal

HEADER = "name,agency,office,reference\n"


def test_many_people_come_in_under_one_code_and_what_failed_is_named(terminal: Terminal, tmp_path: Path) -> None:
    roster = tmp_path / "people.csv"
    roster.write_text(HEADER + "Nguyễn Văn An,H26.1,chairman,CB-1\nLê Thị Hoa,H26.9,clerk,CB-2\n"
                      "Phạm Văn Bảo,H26.1,deputy,CB-1\nĐỗ Minh Châu,H26.1,clerk,\n", encoding="utf-8")
    failed = terminal.asks("signatory", "import", str(roster), exits=1)
    assert [(each["row"], each["name"]) for each in failed] == [(3, "Lê Thị Hoa"), (4, "Phạm Văn Bảo")]
    assert {each["name"] for each in terminal.asks("signatory", "list")} == {"Nguyễn Văn An", "Đỗ Minh Châu"}
    assert len(terminal.entries("signatory:add")) == 2


def test_five_hundred_and_one_people_take_two_codes(terminal: Terminal, tmp_path: Path) -> None:
    roster = tmp_path / "people.csv"
    roster.write_text(HEADER + "".join(f"Người thứ {n},H26.1,clerk,CB-{n}\n" for n in range(501)), encoding="utf-8")
    refused = terminal("signatory", "import", str(roster), exits=3)
    assert "A code is needed" in refused.err
    assert len(terminal.asks("signatory", "list")) == 500


def test_the_codes_of_many_are_drawn_as_pictures_for_nobody_else(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster, pictures = tmp_path / "people.csv", tmp_path / "codes"
    roster.write_text(HEADER + "An,H26.1,clerk,CB-1\nBình,H26.1,clerk,CB-2\n", encoding="utf-8")
    monkeypatch.setattr(acts, "ask_code", lambda _session, _question: terminal.office.fresh_code(terminal.uri))
    terminal("signatory", "import", str(roster), "--codes", str(pictures))
    drawn = sorted(pictures.iterdir())
    assert [each.name[:6] for each in drawn] == ["00002-", "00003-"]
    assert all(each.stat().st_mode & 0o077 == 0 for each in (pictures, *drawn))


def test_what_was_entered_is_told_also_when_the_code_for_the_pictures_does_not_come(
    terminal: Terminal, tmp_path: Path
) -> None:
    roster = tmp_path / "people.csv"
    roster.write_text(HEADER + "An,H26.1,clerk,CB-1\nBình,H26.9,clerk,CB-2\n", encoding="utf-8")
    refused = terminal("signatory", "import", str(roster), "--codes", str(tmp_path / "codes"), exits=3)
    assert "1 of 2 people were entered" in refused.err
    assert "Bình" in refused.out


def test_pictures_go_into_a_folder_that_is_not_there_yet_or_nobody_is_entered(
    terminal: Terminal, tmp_path: Path
) -> None:
    roster = tmp_path / "people.csv"
    roster.write_text(HEADER + "An,H26.1,clerk,CB-1\n", encoding="utf-8")
    assert "is there already" in terminal("signatory", "import", str(roster), "--codes", str(tmp_path), exits=2).err
    assert terminal.asks("signatory", "list") == []


WRONG = {
    "no such file": (None, "no file"),
    "nobody in it": (HEADER, "nobody"),
    "a column is missing": ("name,agency,office\nAn,H26.1,clerk\n", "reference"),
    "not UTF-8": (HEADER.encode() + "Nguyễn,H26.1,clerk,\n".encode("cp1258", "replace") + b"\xff", "UTF-8"),
    "a name is missing": (HEADER + " ,H26.1,clerk,CB-1\n", "Wrong cells: 1"),
    "a name that is too long": (HEADER + "A" * 201 + ",H26.1,clerk,CB-1\n", "Wrong cells: 1"),
}


@pytest.mark.parametrize(("content", "why"), WRONG.values(), ids=WRONG.keys())
def test_a_roster_is_refused_whole(tmp_path: Path, content: str | bytes | None, why: str) -> None:
    roster = tmp_path / "people.csv"
    if content is not None:
        roster.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Invalid, match=why):
        read_roster(roster)


def test_every_wrong_cell_is_named_with_its_row(tmp_path: Path) -> None:
    roster = tmp_path / "people.csv"
    roster.write_text(HEADER + "An,H26.1,clerk,CB-1\n,H26.1,,CB-2\n", encoding="utf-8")
    with pytest.raises(Invalid) as refused:
        read_roster(roster)
    assert [error.field for error in refused.value.errors] == ["row 3, name", "row 3, office"]


@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
@pytest.mark.parametrize("mark", [",", ";"])
def test_a_roster_is_read_as_spreadsheets_write_it(tmp_path: Path, start: str, mark: str) -> None:
    roster = tmp_path / "people.csv"
    roster.write_text(start + (HEADER + '"An, Nguyễn",H26.1,clerk,\n').replace(",", mark).replace(
        f'"An{mark} ', '"An, '), encoding="utf-8")
    assert [(person.name, person.reference) for person in read_roster(roster)] == [("An, Nguyễn", None)]
