"""What README.md tells people to type does what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signing_service.cli.demo import tour

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = {
    found["name"]: found["text"]
    for found in re.finditer(r"<!-- run: (?P<name>[a-z-]+) -->\n```sh\n(?P<text>.*?)```", README, re.DOTALL)
}
START_SECONDS = 120
PROGRAM = (sys.executable, "-m", "signing_service")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A working directory that looks like the repository's, in which `var` is its own."""
    for name in ("tests", "policies", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def environment() -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("SIGNING_")}
    return others | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}


@contextmanager
def staying(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """What `make run` starts, until the end of the block."""
    command = [*PROGRAM, "demo", "--stay", "--directory", "var/run"]
    server = subprocess.Popen(command, cwd=checkout, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        yield server
    finally:
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=120)
        assert server.returncode == 0, said


def await_file(file: Path, server: subprocess.Popen[str]) -> None:
    until = time.monotonic() + START_SECONDS
    while not file.exists():
        assert server.poll() is None, "the server did not stay"
        assert time.monotonic() < until, f"{file.name} was not made"
        time.sleep(0.1)


def test_the_tour_works_as_it_is_written(checkout: Path) -> None:
    with staying(checkout) as server:
        await_file(checkout / "var/run/tour", server)
        done = subprocess.run(["sh", "-eu"], input=BLOCKS["tour"], cwd=checkout, env=environment(),
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    for wanted in ("signed", "Signature is Valid", "signature:done", "are exactly those under"):
        assert wanted in done.stdout
    assert "✗" not in done.stdout


def test_the_demonstration_is_true_and_leaves_what_it_says(checkout: Path) -> None:
    done = subprocess.run([*PROGRAM, "demo"], cwd=checkout, env=environment(), capture_output=True, text=True,
                          timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "✗" not in done.stderr
    left = {path.name for path in (checkout / "var/demo").iterdir()}
    assert left >= {"signed.pdf", "receipt.json", "checkpoint.txt", "log.key", "summary.md"}


def test_a_demonstration_does_not_empty_a_directory_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").write_text("years of work")
    done = subprocess.run([*PROGRAM, "demo", "--directory", str(tmp_path)], cwd=ROOT, env=environment(),
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert (tmp_path / "thesis.odt").exists()


def test_the_readme_shows_the_commands_that_the_running_server_prints() -> None:
    assert BLOCKS["tour"] == tour.commands(Path("var/run"))


def test_every_make_target_that_the_readme_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", README, re.MULTILINE))
    targets = {first or second for first, second in named}
    assert targets >= {"demo", "run", "test", "check"}
    for target in targets:
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


def test_every_target_explains_itself() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^([a-z]+):", makefile, re.MULTILINE):
        assert f"make {target} " in shown


def test_every_link_in_the_readme_leads_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", README):
        assert (ROOT / link).exists(), link
