"""For whoever stays: a file for the shell with everything at hand, and the commands to type (README.md has them)."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from signing_service.cli.demo.place import Place
from signing_service.cli.demo.town import WARD, Town

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

# The chairman sees the same six digits and confirms with a code from his phone (here: `code`).
ask "$API/signing-requests/$REQUEST/confirm" --json "{{\\"code\\": \\"$(code)\\"}}" | field state

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
SIGNATORY={signatory}
ask() {{ curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" "$@"; }}
code() {{ {python} -c 'import pyotp, sys; print(pyotp.parse_uri(sys.argv[1]).now())' {seed}; }}
field() {{ {python} -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }}
"""


def commands(directory: Path) -> str:
    """What to type, from submitting a document to proving the log."""
    return COMMANDS.format(directory=directory)


def write_tour(place: Place, town: Town, directory: Path) -> None:
    """The shell file, readable by nobody else: it holds the client's secret and the chairman's seed."""
    values = {
        "directory": directory, "environment": place.directory / "environment", "operator": town.operator.id,
        "programs": Path(sys.executable).parent, "url": place.url, "client_id": town.client.client_id,
        "client_secret": town.client.secret, "agency": WARD.code, "signatory": town.signatory.id,
        "python": sys.executable, "seed": town.signatory.phone.uri,
    }
    file = place.directory / "tour"
    file.touch(mode=0o600)
    file.write_text(FILE.format(**{name: shlex.quote(str(value)) for name, value in values.items()}), encoding="utf-8")
