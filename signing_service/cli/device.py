"""The device, before there is a service: is it all there, and a token in software for trying things out.

The only file outside the signer that touches the device.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hsm.errors import DeviceError, Unsupported
from hsm.settings import DeviceSettings
from hsm.softhsm import provision
from signing_service import errors
from signing_service.cli import exits
from signing_service.cli.session import Session, held
from signing_service.cli.settings import read_signer_settings

if TYPE_CHECKING:
    from hsm.doctor import Check

app = typer.Typer(no_args_is_help=True, help="The device that holds the keys.")


@app.command()
def doctor(
    context: typer.Context,
    uri: Annotated[str | None, typer.Option(help="A pkcs11: URI (RFC 7512) instead of the settings")] = None,
    module: Annotated[Path | None, typer.Option(help="The PKCS#11 library, if the URI does not name it")] = None,
    pin_file: Annotated[Path | None, typer.Option(help="The PIN's file, if the URI does not name it")] = None,
) -> None:
    """Is everything there that the server needs? Logs in once and makes a test signature."""
    from hsm.doctor import examine  # here: it loads the device's library, which no other process may

    session = held(context)
    checks = examine(_settings(uri, module, pin_file))
    _show(session, checks)
    if not all(check.ok for check in checks):
        raise typer.Exit(exits.FALSE)


@app.command("init-softhsm")
def init_softhsm(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="Where the token, its configuration and its PIN go")],
    label: Annotated[str, typer.Option(help="What the token is called")] = "signing",
) -> None:
    """Make a token in software, for development: whoever can read its files can use its keys."""
    session = held(context)
    session.screen.record("A token in software, for development only", provision_softhsm(directory, label))


def provision_softhsm(directory: Path, label: str) -> dict[str, str]:
    """The token, made unless it is there, and the settings that name it. PINs are drawn and only in their file."""
    with _words():
        made = provision(directory.resolve(), label, pin=_pin(), so_pin=_pin())
    return {
        "SIGNING_PKCS11_MODULE": str(made.module), "SIGNING_PKCS11_TOKEN": made.token,
        "SIGNING_PKCS11_PIN_FILE": str(made.pin_file), "SIGNING_SOFTHSM_CONF": str(made.softhsm_conf),
    }


def _settings(uri: str | None, module: Path | None, pin_file: Path | None) -> DeviceSettings:
    if uri is None:
        return read_signer_settings().device()
    try:
        return DeviceSettings.from_uri(uri, module, pin_file)
    except ValueError as error:
        raise errors.Invalid(f"{error}.", code="pkcs11-uri") from error


def _show(session: Session, checks: list[Check]) -> None:
    if session.screen.as_json:
        columns = ("name", "ok", "detail", "remedy")
        session.screen.rows("Device", columns, [vars(check) for check in checks])
        return
    for check in checks:
        mark = Text("✓ ", "green") if check.ok else Text("✗ ", "red")
        session.screen.out.print(mark + Text(f"{check.name:<28}", "bold") + Text(check.detail))
        if check.remedy:
            session.screen.out.print(Text(f"    → {check.remedy}", "yellow"))


@contextmanager
def _words() -> Iterator[None]:
    """The device's errors as refusals with an exit code."""
    try:
        yield
    except Unsupported as error:
        raise errors.Unsupported(f"{error}.", code="device-unsupported") from error
    except DeviceError as error:
        raise errors.Unavailable(f"{error}.", code="device-away") from error


def _pin() -> str:
    return secrets.token_hex(16)
