"""A list of people as a spreadsheet gives it: CSV with a header, read strictly before anything is entered."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from signing_service.errors import FieldError, Invalid
from signing_service.wire.messages import AddSignatory

CHUNK = 500  # commands of one act: what one message to the signer may carry
COLUMNS = ("name", "agency", "office", "reference")
LONGEST = {"name": 200, "agency": 35, "office": 40, "reference": 100}  # characters, as the signer takes them


@dataclass(frozen=True)
class Person:
    """One row; `row` is its number in the file, as spreadsheets count."""

    row: int
    name: str
    agency: str
    office: str
    reference: str | None

    def command(self) -> AddSignatory:
        return AddSignatory(name=self.name, agency_code=self.agency, office=self.office, reference=self.reference)


def read_roster(file: Path) -> list[Person]:
    """Everybody in the file. Invalid names every row that is wrong; nothing is half-read."""
    rows = _rows(file)
    errors = [error for number, row in rows for error in _wrong(number, row)]
    if errors:
        raise Invalid(f"Wrong cells: {len(errors)}; nobody was entered.", code="roster", errors=errors)
    if not rows:
        raise Invalid("There is nobody in the file.", code="roster")
    return [Person(number, row["name"], row["agency"], row["office"], row["reference"] or None) for number, row in rows]


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
    except FileNotFoundError as error:
        raise Invalid(f"There is no file {file}.", code="roster") from error
    except UnicodeDecodeError as error:
        raise Invalid("The file is not UTF-8: save it as “CSV UTF-8”.", code="roster") from error
    reader = csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ",")
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise Invalid(f"The first row must name the columns {', '.join(COLUMNS)}; {', '.join(missing)} is missing.",
                      code="roster")
    return [(number, {name: (row[name] or "").strip() for name in COLUMNS}) for number, row in enumerate(reader, 2)]


def _wrong(number: int, row: dict[str, str]) -> list[FieldError]:
    empty = [FieldError(f"row {number}, {name}", "is empty") for name in COLUMNS[:3] if not row[name]]
    return empty + [FieldError(f"row {number}, {name}", f"is longer than {most} characters")
                    for name, most in LONGEST.items() if len(row[name]) > most]
