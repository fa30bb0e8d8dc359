"""Where a demonstration lives: a directory that is made afresh each time, and nothing outside it."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import socket
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from signing_service.cli.development_ca import DevelopmentCa
from signing_service.cli.device import provision_softhsm
from signing_service.errors import Invalid

MARKER = ".made-by-signing-service-demo"  # a directory without it is somebody else's and is not emptied
LONGEST_SOCKET = 90                       # bytes of a path; the system allows 107 (unix(7))
USUAL_PORT = 8080


@dataclass(frozen=True)
class Place:
    """The directory, and the settings that every process of the demonstration gets."""

    directory: Path
    settings: dict[str, str]

    @property
    def url(self) -> str:
        return self.settings["SIGNING_PUBLIC_URL"]

    @property
    def port(self) -> int:
        return int(self.settings["SIGNING_LISTEN_PORT"])

    @property
    def admin_socket(self) -> Path:
        return Path(self.settings["SIGNING_ADMIN_SOCKET"])

    @property
    def sign_socket(self) -> Path:
        return Path(self.settings["SIGNING_SIGN_SOCKET"])

    @property
    def database_url(self) -> str:
        return self.settings["SIGNING_DATABASE_URL"]

    @property
    def environment(self) -> dict[str, str]:
        """Ours for the rest, but no setting of another server that happens to be in it."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("SIGNING_")}
        return others | self.settings


def make_place(directory: Path) -> Place:
    """Empty the directory and put a token, secrets and settings into it. Invalid for a directory that is not ours."""
    directory = directory.resolve()
    _empty(directory)
    token = provision_softhsm(directory / "hsm", "demo")
    secret = directory / "front.secret"
    secret.touch(mode=0o600)
    secret.write_bytes(secrets.token_bytes(32))
    DevelopmentCa.make(directory / "ca", datetime.now(UTC))
    (directory / "trust").mkdir()
    shutil.copyfile(directory / "ca" / "ca.pem", directory / "trust" / "root.pem")
    sockets = _sockets(directory)
    port = _free_port()
    settings = {
        "SIGNING_PROFILE": "development",
        "SIGNING_DATABASE_URL": f"sqlite:///{directory}/signing.db",
        "SIGNING_SIGNER_DATABASE_URL": f"sqlite:///{directory}/signing.db",
        "SIGNING_ANCHOR": str(directory / "anchor"),
        "SIGNING_DOCUMENTS": str(directory / "documents"),
        "SIGNING_FRONT_SECRET_FILE": str(secret),
        "SIGNING_SIGN_SOCKET": str(sockets / "sign.sock"),
        "SIGNING_ADMIN_SOCKET": str(sockets / "admin.sock"),
        "SIGNING_LISTEN_PORT": str(port),
        "SIGNING_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "SIGNING_TRUST_ROOTS": str(directory / "trust"),
        **token,
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
    (directory / "environment").write_text("".join(lines), encoding="utf-8")
    return Place(directory, settings)


def _empty(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()) and not (directory / MARKER).exists():
        raise Invalid(f"{directory} holds something else. Name another directory with --directory.", code="directory")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    (directory / MARKER).touch()


def _sockets(directory: Path) -> Path:
    """Beside the rest, unless that is too long a name for a socket."""
    if len(bytes(directory / "admin.sock")) <= LONGEST_SOCKET:
        return directory
    return Path(tempfile.mkdtemp(prefix="signing-"))


def _free_port() -> int:
    """The usual one, or any."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Invalid("There is no free port on 127.0.0.1.", code="listen")
