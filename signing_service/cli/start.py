"""Where the program `signing-service` begins: one of its processes, or any other command.

After a crash somebody waits until signer and front are there again, and Python spends most of that time on reading
packages. So a process reads what it runs, and not the other commands.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

PROCESSES = ("serve", "front", "jobs", "signer")


def main() -> None:
    """The entry point. Exits with the command's code."""
    words = sys.argv[1:]
    if words and words[0] in PROCESSES:
        _run_process(words)
    from signing_service.cli import main as every

    every.main()


def _run_process(words: list[str]) -> None:
    gc.disable()  # what is read now stays as long as we do: looking for garbage in it is a tenth of the time
    from signing_service.cli import running

    sys.exit(running.run(_processes, words))


def _processes() -> Any:
    """The same four commands as `main.app` has, and no others."""
    import typer
    from typer.main import get_command

    from signing_service.cli import processes

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    for name in PROCESSES:
        app.command(rich_help_panel="Processes")(getattr(processes, name))
    command = get_command(app)
    gc.enable()
    return command
