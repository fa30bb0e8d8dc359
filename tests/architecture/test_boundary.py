"""The boundary between the halves, in the code and in processes that run.

In the code: who may ask the device for what. In processes: a front that has served a whole signing holds no PIN, no
seed and no PKCS#11 module, and its database role cannot write what the signer relies on.
"""

from __future__ import annotations

import ast
import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from signing_service.db import migrate, roles
from signing_service.db.tables import SIGNER
from tests.support import memory, postgres, softhsm
from tests.support.city import Person
from tests.support.service import PLAN, ROOT, Running, Service, until

PACKAGE = ROOT / "signing_service"
Place = tuple[str, str]  # a file below signing_service, and the function in it

# ------------------------------------------------------------------------------------------------ in the code

# Every function that asks for a signature with a key that is named to it, and nothing else.
SIGNS: set[Place] = {
    ("signer/intents.py", "_asked"),                 # a durable intent, once
    ("signer/custody.py", "request_certificate"),    # a CSR, on record before
    ("signer/timestamps.py", "_issue"),              # a timestamp, its serial number on record before
    ("cli/development_ca.py", "issue"),              # not a device: the builder of a test certificate
    ("cli/development_ca.py", "_root"),              # the same
}
# What else the device could be asked for that could be abused, and the one file that asks.
ASKED_IN: dict[str, set[str]] = {
    "sign_checkpoint": {"signer/sequencer.py"},
    "hmac_sha1": {"signer/codes.py"},
    "generate_seed": {"signer/seeds.py"},
    "generate_key": {"signer/custody.py"},
    "destroy": {"signer/custody.py"},
    "service_key": set(),
    "decrypt": set(),
}
# Values that are a right: each is made in one place only, after the checks that it stands for.
MADE_IN: dict[str, set[Place]] = {
    "Accepted": {("signer/confirmations.py", "_spend")},    # a code that was spent
    "Intent": {("signer/intents.py", "_granted")},          # written before the device is asked
    "Performed": {("signer/intents.py", "_judged"), ("signer/intents.py", "_failed")},
    "Recorded": {("signer/timestamps.py", "_record")},
    "Spent": {("signer/codes.py", "spend")},                # an operator's code
    "Change": {("signer/custody.py", "revise")},            # a credential's row with its MAC
    "Recognized": {("signer/phones.py", "recognized")},     # a phone that showed its secret
    "Usable": {("signer/tickets.py", "_usable"), ("signer/tickets.py", "of_phone")},  # by the browser that has it
}
CALLED_IN: dict[str, set[Place]] = {
    "_granted": {("signer/intents.py", "_decided")},
    "_spend": {("signer/confirmations.py", "_accept")},
    "intend": {("signer/confirmations.py", "_intend_lines")},
    "perform": {("signer/confirmations.py", "_sign")},
    "_issue": {("signer/timestamps.py", "issue_all")},
}


@cache
def nodes() -> list[tuple[ast.AST, Place]]:
    """Everything that stands in a function of the package, and where that is."""
    return [
        (node, (str(path.relative_to(PACKAGE)), function.name))
        for path in sorted(PACKAGE.rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    ]


def places(wanted: Callable[[ast.AST], str | None], name: str) -> set[Place]:
    """Where `wanted` sees this name."""
    return {place for node, place in nodes() if wanted(node) == name}


def attribute(node: ast.AST) -> str | None:
    """`anything.name`, called or not: a method handed on is as good as called. Strings, for getattr."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return next((str(each.value) for each in node.args if isinstance(each, ast.Constant)), None)
    return None


def called(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)


def test_nothing_signs_with_a_key_but_these_functions() -> None:
    assert places(attribute, "sign") == SIGNS


@pytest.mark.parametrize("method", ASKED_IN)
def test_the_device_is_asked_in_this_file_only(method: str) -> None:
    assert {file for file, _ in places(attribute, method)} == ASKED_IN[method]


@pytest.mark.parametrize("name", MADE_IN)
def test_a_right_is_made_where_it_was_checked_and_nowhere_else(name: str) -> None:
    assert places(called, name) == MADE_IN[name]


@pytest.mark.parametrize("name", CALLED_IN)
def test_the_way_to_the_device_leads_through_one_door(name: str) -> None:
    assert {place for place in places(called, name) if place[0].startswith("signer/")} == CALLED_IN[name]


def test_no_rights_are_made_outside_functions() -> None:
    """`places` looks into functions: at a module's own level none of these names may be called."""
    named = {"sign", *ASKED_IN, *MADE_IN, *CALLED_IN}
    for path in PACKAGE.rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                assert not {called(node) for node in ast.walk(statement)} & named, path


LOADED = "import importlib, sys; [importlib.import_module(n) for n in sys.argv[1].split(',')]; print(*sys.modules)"
NEVER_LOADED = {
    "a front": ("signing_service.front.app,signing_service.front.jobs,signing_service.pdf.child",
                {"pkcs11", "hsm.module", "hsm.token", "signing_service.signer"}),
    "a signer": ("signing_service.signer.process",
                 {"fastapi", "starlette", "uvicorn", "httpx", "pyhanko", "signing_service.front",
                  "signing_service.pdf"}),
}


@pytest.mark.parametrize("half", NEVER_LOADED)
def test_a_half_loads_nothing_of_the_other(half: str) -> None:
    modules, forbidden = NEVER_LOADED[half]
    ran = subprocess.run([sys.executable, "-c", LOADED, modules], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not forbidden & set(ran.stdout.split())


# --------------------------------------------------------------------------------------------- in processes


class Apart(Service):
    """A service whose halves are told only what is theirs, each with a database role of its own."""

    SIGNERS_OWN = ("SIGNING_PKCS11_", "SIGNING_SOFTHSM_", "SIGNING_SIGNER_")
    FRONTS_OWN = ("SIGNING_DATABASE_URL", "SIGNING_FRONT_SECRET_FILE", "SIGNING_DOCUMENTS", "SIGNING_ADMIN_SOCKET")

    def run(self, name: str) -> Running:
        self._starting = name
        return super().run(name)

    def environment(self) -> dict[str, str]:
        forgotten = self.FRONTS_OWN[:3] if self._starting == "signer" else self.SIGNERS_OWN
        return {name: value for name, value in super().environment().items() if not name.startswith(forgotten)}

    def takes_roles(self) -> None:
        """From here on each half connects as its own role. What was prepared, the owner prepared."""
        for role in ("front_half", "signer_half"):
            roles.create(self.url, role, "not asked for on this socket")
        roles.grant(self.url, "front_half", "signer_half")
        self.owner_url = self.url
        self.url, self.signer_url = (
            postgres.as_role(self.owner_url, role) for role in ("front_half", "signer_half"))


@pytest.fixture(scope="module")
def official_and_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Person, Apart]]:
    if not postgres.available():
        pytest.skip("PostgreSQL 15 or later is not installed")
    url = postgres.fresh_database()
    migrate.upgrade(url)
    made = Apart(tmp_path_factory.mktemp("apart"), url)
    try:
        official = made.official()
        made.takes_roles()
        made.start()
        yield official, made
        made.check()
    finally:
        made.close()


@pytest.fixture(scope="module")
def service(official_and_service: tuple[Person, Apart]) -> Apart:
    """It has served a whole signing: submitted, confirmed with a code, timestamped, finished, fetched."""
    official, made = official_and_service
    request = made.submits(official, level="B-T")
    answer = made.confirms(official, request)
    assert answer.status_code == 200, answer.text
    until(lambda: made.state(request) == "signed", 30, "signed")
    assert made.signed_document(request).startswith(PLAN.read_bytes())
    return made


@pytest.fixture(scope="module")
def seed(official_and_service: tuple[Person, Apart]) -> bytes:
    return base64.b32decode(official_and_service[0].secret)


def pids(service: Service, name: str) -> list[int]:
    return memory.family(service.running[name].process.pid)


FRONT_HALF = ("front0", "jobs")


@pytest.mark.parametrize("name", FRONT_HALF)
def test_the_front_half_has_no_pin_and_no_seed_in_its_memory(service: Apart, seed: bytes, name: str) -> None:
    secrets = {"PIN": softhsm.PIN.encode(), "SO PIN": softhsm.SO_PIN.encode()} | memory.spellings("seed", seed)
    for pid in pids(service, name):
        assert memory.found_in(pid, secrets) == set()


def test_the_search_finds_what_is_there(service: Apart) -> None:
    """Else the test above would show nothing: the front does hold its own secret."""
    own = (service.directory / "front.secret").read_bytes()
    assert memory.found_in(pids(service, "front0")[0], memory.spellings("front secret", own)) == {"front secret, raw"}


def test_the_search_finds_every_spelling(seed: bytes) -> None:
    secrets = {"PIN": softhsm.PIN.encode()} | memory.spellings("seed", seed)
    holding = "import sys; held = sys.stdin.buffer.read(); print(len(held), flush=True); import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None  # noqa: PT018 - for mypy, not for the story
    child.stdin.write(b" ".join(secrets.values()))
    child.stdin.close()
    child.stdout.readline()
    try:
        assert memory.found_in(child.pid, secrets) == set(secrets)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_pdf_worker_does_not_even_hold_the_fronts_secret(service: Apart) -> None:
    own = (service.directory / "front.secret").read_bytes()
    workers = pids(service, "front0")[1:]
    assert workers
    for pid in workers:
        assert memory.found_in(pid, memory.spellings("front secret", own)) == set()
        assert not [name for name in memory.environment(pid) if name.startswith("SIGNING_")]


def test_only_the_signer_has_a_device_library_mapped(service: Apart) -> None:
    def has_module(pid: int) -> bool:
        return any("softhsm" in name or "pkcs11" in name for name in memory.mapped_files(pid))

    assert has_module(pids(service, "signer")[0])
    for name in FRONT_HALF:
        assert not any(has_module(pid) for pid in pids(service, name))


@pytest.mark.parametrize("name", FRONT_HALF)
def test_the_front_half_is_told_nothing_about_the_device(service: Apart, name: str) -> None:
    for pid in pids(service, name):
        told = memory.environment(pid)
        assert not [each for each in told if each.startswith(Apart.SIGNERS_OWN)]
        assert softhsm.PIN not in "".join(told.values())


def test_the_front_opens_no_file_of_the_device(service: Apart) -> None:
    device = softhsm.settings()
    for name in FRONT_HALF:
        for pid in pids(service, name):
            opened = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
            assert not [each for each in opened if each.startswith(str(device.pin_file.parent))]


def test_each_half_is_connected_to_the_database_as_its_own_role(service: Apart) -> None:
    """Which addresses they were given says little: PostgreSQL says who is there."""
    with psycopg.connect(service.owner_url) as owner:
        rows = owner.execute("SELECT usename::text FROM pg_stat_activity WHERE datname = current_database()").fetchall()
    assert {row[0] for row in rows} >= {"front_half", "signer_half"}


# ---------------------------------------------------------------------- with the front's own database connection


@pytest.fixture
def front(service: Apart) -> Iterator[psycopg.Connection[Any]]:
    """A connection as a front that was taken over has it: its role, its address, any statement."""
    with psycopg.connect(service.url, autocommit=True) as connection:
        yield connection


WRITES = {
    "clears the attempts of a person": "UPDATE code_state SET failures = 0, hard_locked = false",
    "makes a spent step good again": "UPDATE code_state SET last_step = 0",
    "exchanges a seed": "UPDATE seed SET owner = (SELECT max(id) FROM signatory)",
    "writes an intent": "INSERT INTO intent SELECT * FROM intent",
    "reopens an intent": "UPDATE intent SET outcome = NULL",
    "makes a confirmation": "INSERT INTO confirmation SELECT * FROM confirmation",
    "plants a signature value": "UPDATE signature SET value = 'x'",
    "exchanges a key": "UPDATE key SET blob = 'x'",
    "exchanges a certificate": "UPDATE credential SET certificate = 'x'",
    "activates a policy": "UPDATE policy SET text = ''",
    "takes the sequencer's lease": "UPDATE lease SET holder = 'x'",
    "sets the clock back": "UPDATE clock SET high_water = now() - interval '1 day'",
    "gives an entry a place": "UPDATE entry SET leaf_index = 99999",
    "proves an entry": "UPDATE entry SET mac = 'x', mac_by = 'x'",
    "changes an entry": "UPDATE entry SET body = '{}'",
    "deletes an entry": "DELETE FROM entry WHERE event = 'signature:intent'",
}


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES.keys())
def test_the_front_of_a_running_service_never(front: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        front.execute(statement.encode())


def test_the_fronts_role_has_no_right_to_write_any_table_of_the_signer(front: psycopg.Connection[Any]) -> None:
    """Asked of PostgreSQL itself, for every table, right and column."""
    for table in SIGNER:
        for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            held = front.execute("SELECT has_table_privilege(%s, %s)", (f'"{table.name}"', right)).fetchone()
            assert held == (False,)
        for right in ("INSERT", "UPDATE"):
            held = front.execute("SELECT has_any_column_privilege(%s, %s)", (f'"{table.name}"', right)).fetchone()
            assert held == (False,)


def test_a_signed_request_that_the_front_puts_back_is_not_signed_again(
    service: Apart, front: psycopg.Connection[Any], official_and_service: tuple[Person, Apart],
) -> None:
    """It may write this row; the intent, which it may not write, still stands in the way."""
    official, _ = official_and_service
    row = front.execute("SELECT id FROM signing_request WHERE state = 'signed'").fetchone()
    assert row is not None
    request = row[0]
    front.execute("UPDATE signing_request SET state = 'pending', expires_at = now() + interval '1 hour' WHERE id = %s",
                  (request,))
    try:
        answer: httpx.Response = service.confirms(official, request, official.code(datetime.now(UTC), drift=1))
        assert (answer.status_code, answer.json()["code"]) == (409, "spent")
        assert front.execute("SELECT count(*) FROM intent").fetchone() == (1,)
    finally:
        front.execute("UPDATE signing_request SET state = 'signed' WHERE id = %s", (request,))
