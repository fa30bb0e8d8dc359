"""The service's processes: all of them under a supervisor, or each alone, as systemd and containers run them."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from hsm.errors import PinRejected
from signing_service.cli import supervisor
from signing_service.cli.session import Session, held
from signing_service.cli.settings import check_front_places, check_signer_places, read_signer_settings
from signing_service.db import migrate
from signing_service.errors import Invalid, SigningError, Unavailable
from signing_service.front import logs
from signing_service.front.settings import FrontSettings, Profile
from signing_service.wire.client import ask_once
from signing_service.wire.messages import Health, HealthReport

log = logging.getLogger(__name__)

DATABASE_PAUSE = 2.0  # seconds between two looks at a database that is away
LOUD = "DEVELOPMENT PROFILE: keys, codes and certificates of this server mean nothing to anybody."


def serve(
    context: typer.Context,
    front: Annotated[int, typer.Option(min=1, max=64, help="How many fronts share the port")] = 1,
) -> None:
    """Start everything and keep it alive: signer, jobs, fronts. Ctrl-C ends it in good order."""
    supervisor.leave_no_core()
    supervisor.end_with_supervisor()  # when the demonstration is killed, its server ends too
    session = held(context)
    settings = session.settings
    signers = read_signer_settings()  # a half that cannot start should say so here, not five restarts later
    _prepare(session)
    check_front_places(settings)
    check_signer_places(signers)
    listener, probes = _listen(settings.listen_host, settings.listen_port), _probes(settings)
    handed = ["--fd", str(listener.fileno()), *(["--probe-fd", str(probes.fileno())] if probes else [])]
    descriptors = tuple(each.fileno() for each in (listener, probes) if each)
    supervised = supervisor.Supervisor(
        inner=[supervisor.Child("signer", ("signer",))], later=[supervisor.Child("jobs", ("jobs",))],
        fronts=[supervisor.Child(f"front {number}", ("front", *handed), descriptors)
                for number in range(1, front + 1)],
    )
    logs.configure("supervisor")
    address = listener.getsockname()
    code = asyncio.run(supervised.run(
        lambda: is_ready(settings.sign_socket, (address[0], address[1])),
        lambda: session.screen.say(f"ready: {settings.public_url}", style="green"),
    ))
    raise typer.Exit(code)


def front(
    context: typer.Context,
    fd: Annotated[int | None, typer.Option(help="A listening socket that the supervisor bound", hidden=True)] = None,
    probe_fd: Annotated[int | None, typer.Option(help="The same, for probes", hidden=True)] = None,
) -> None:
    """The front half alone: everything that is asked over HTTP. It holds no key."""
    from signing_service.cli.web import run_front  # here: the other commands need no web server

    supervisor.leave_no_core()
    supervisor.end_with_supervisor()
    settings = held(context).settings
    check_front_places(settings)
    logs.configure("front")
    _await_database(settings.database_url)
    listener = _listen(settings.listen_host, settings.listen_port) if fd is None else socket.socket(fileno=fd)
    probes = _probes(settings) if probe_fd is None else socket.socket(fileno=probe_fd)
    uvloop.run(run_front(settings, listener, probes))


def jobs(context: typer.Context) -> None:
    """The jobs alone: expiry, finishing, webhooks, sweeps. Any number may run."""
    supervisor.leave_no_core()
    supervisor.end_with_supervisor()
    settings = held(context).settings
    check_front_places(settings)
    logs.configure("jobs")
    _await_database(settings.database_url)
    uvloop.run(_run_jobs(settings))


def signer(context: typer.Context) -> None:
    """The signer alone: the only process that speaks to the device."""
    from signing_service.signer import process  # here: only this process may load the device

    supervisor.leave_no_core()
    supervisor.end_with_supervisor()
    settings = read_signer_settings()
    check_signer_places(settings)
    logs.configure("signer")
    _await_database(settings.signer_database_url)
    try:
        raise typer.Exit(process.run(settings))
    except PinRejected as error:
        remedy = f"It is tried once and not again: put the right PIN into {settings.pkcs11_pin_file}."
        held(context).screen.say(f"{error}. {remedy}", style="red")
        raise typer.Exit(supervisor.GIVE_UP) from error


async def _run_jobs(settings: FrontSettings) -> None:
    from signing_service.front import jobs as work
    from signing_service.front.runtime import open_runtime

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_runtime(settings) as rt:
        await work.run(rt, stop)


def _await_database(url: str) -> None:
    """Wait while it is away; refuse (WrongState) when it has another shape than this version expects."""
    while True:
        try:
            return migrate.check(url)
        except Unavailable as error:
            log.warning("waiting for the database: %s", error.message)
            time.sleep(DATABASE_PAUSE)


def _prepare(session: Session) -> None:
    """In development the database is made by the way; elsewhere its owner does that, and we only look."""
    settings = session.settings
    if settings.profile is Profile.DEVELOPMENT:
        session.screen.err.print(f"[bold white on red] {LOUD} [/]")
        migrate.upgrade(settings.database_url)
    migrate.check(settings.database_url)


def _probes(settings: FrontSettings) -> socket.socket | None:
    return None if settings.probe_port is None else _listen(settings.probe_host, settings.probe_port)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return supervisor.bind(host, port)
    except OSError as error:
        raise Invalid(f"{host}:{port} cannot be listened on: {error.strerror}.", code="listen") from error


def is_ready(sign_socket: Path, address: tuple[str, int]) -> bool:
    """Do the signer and at least one front answer?"""
    try:
        report = ask_once(sign_socket, Health(), HealthReport, deadline=2)
    except SigningError:
        return False
    return all(condition.ok for condition in report.conditions) and _answers(address)


def _answers(address: tuple[str, int]) -> bool:
    """The socket listens from the start, so only an answer counts."""
    try:
        with socket.create_connection(address, 2) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(12).startswith(b"HTTP/1.1 ")
    except OSError:
        return False
