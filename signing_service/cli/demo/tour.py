"""For whoever stays: a file for the shell with everything at hand, and the commands to type (README.md has them)."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from signing_service.cli.demo.place import Place
from signing_service.cli.demo.town import DEPUTY, WARD, Guests, Town

COMMANDS = """\
. {directory}/tour
TOKEN=$(curl -s -u "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials "$URL/oauth2/token" \\
  | field access_token)

# The document system submits a plan for the chairman. The answer has the matching code.
ask "$API/signing-requests" -F file=@tests/documents/ke-hoach.pdf -F document_type=KH \\
  -F "subject=Kế hoạch chuyển đổi số" -F "issuing_agency=$AGENCY" -F "signatory=$SIGNATORY" \\
  > {directory}/submitted.json
REQUEST=$(field id < {directory}/submitted.json)
field matching_code < {directory}/submitted.json

# The chairman opens it on his phone, compares the six digits and confirms with a code (`chairman` does as he would).
chairman "$REQUEST"

# The signed document, and a receipt that proves offline that all of this is on record.
ask "$API/signing-requests/$REQUEST?wait=30" | field state
ask "$API/signing-requests/$REQUEST/signed-document" -o {directory}/signed.pdf
ask "$API/signing-requests/$REQUEST/receipt" -o {directory}/receipt.json
pdfsig {directory}/signed.pdf

# An operator looks at the log, and proves that nobody changed it.
signing-service audit search --request "$REQUEST"
signing-service audit verify
signing-service audit receipt {directory}/receipt.json --document {directory}/signed.pdf
"""

DOORS = """\
  {url}/enrol/{ticket}
      becomes the phone of {deputy}, deputy; {waiting} documents wait for her
  {url}/console/sign-in
      {auditor}, auditor, or {operator}, operator; both with the password {password}
      and a code:  . {directory}/tour; code auditor    (or: code operator)
"""

WAITING = (  # for the deputy: subject and urgency
    ("Công văn đôn đốc phòng, chống bão số 9", "hoa-toc"),
    ("Kế hoạch chuyển đổi số năm 2026", "khan"),
    ("Thông báo lịch tiếp công dân tháng 12", "normal"),
)
PHONE = "chairman.json"

FILE = """\
# Made by `make run`. Read it into a shell:  . {directory}/tour
. {environment}
PATH={programs}:$PATH
export SIGNING_OPERATOR={operator}
URL={url}
API=$URL/api/v1
CLIENT_ID={client_id}
CLIENT_SECRET={client_secret}
AGENCY={agency}
SIGNATORY={chairman}
ask() {{ curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" "$@"; }}
chairman() {{ {python} -m signing_service.cli.demo.screens {phone} "$1"; }}
code() {{
  case $1 in auditor) set -- {auditor_seed} ;; operator) set -- {operator_seed} ;; esac
  {python} -c 'import pyotp, sys; print(pyotp.parse_uri(sys.argv[1]).now())' "$1"
}}
field() {{ {python} -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }}
"""


def commands(directory: Path) -> str:
    """What to type, from submitting a document to proving the log."""
    return COMMANDS.format(directory=directory)


def doors(place: Place, guests: Guests, directory: Path) -> str:
    """Where to click: an official's phone, the auditor's console, the operator's desk."""
    return DOORS.format(
        url=place.url, ticket=guests.deputy_ticket, deputy=DEPUTY, auditor=guests.auditor.name,
        operator=guests.operator.name, password=guests.password, directory=directory, waiting=len(WAITING))


def write_tour(place: Place, town: Town, directory: Path) -> None:
    """The shell file, readable by nobody else: it holds the client's secret and people's seeds."""
    values = {
        "directory": directory, "environment": place.directory / "environment", "operator": town.operator.id,
        "programs": Path(sys.executable).parent, "url": place.url, "client_id": town.client.client_id,
        "client_secret": town.client.secret, "agency": WARD.code, "chairman": town.chairman_id,
        "python": sys.executable, "phone": place.directory / PHONE,
        "auditor_seed": town.guests.auditor.phone.uri, "operator_seed": town.guests.operator.phone.uri,
    }
    file = place.directory / "tour"
    file.touch(mode=0o600)
    file.write_text(FILE.format(**{name: shlex.quote(str(value)) for name, value in values.items()}), encoding="utf-8")
