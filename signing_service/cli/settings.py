"""Reading the settings of both halves, with what is missing in an administrator's words."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import SettingsError

from signing_service.errors import FieldError, Invalid
from signing_service.front.settings import FrontSettings
from signing_service.signer.settings import SignerSettings


def read_front_settings() -> FrontSettings:
    """From the environment. Invalid names each variable that is missing or wrong."""
    try:
        settings = FrontSettings()  # type: ignore[call-arg]  # the environment gives the arguments
    except ValidationError as error:
        raise _in_words(error) from error
    except SettingsError as error:
        raise _unreadable(error) from error
    _refuse(_wrong_address("database_url", settings.database_url))
    return settings


def read_signer_settings() -> SignerSettings:
    """The same for the half that holds the keys."""
    try:
        settings = SignerSettings()  # type: ignore[call-arg]  # the environment gives the arguments
    except ValidationError as error:
        raise _in_words(error) from error
    except SettingsError as error:
        raise _unreadable(error) from error
    _refuse(_wrong_address("signer_database_url", settings.signer_database_url))
    return settings


def check_front_places(settings: FrontSettings) -> None:
    """What a front cannot live without, before it starts: its secret, and a folder it may write into."""
    wrong = []
    try:
        settings.front_secret()
    except ValueError as error:
        wrong.append(FieldError(_variable(("front_secret_file",)), f"{error}."))
    if not _can_be_written(settings.documents):
        wrong.append(FieldError(_variable(("documents",)), f"nothing can be written into {settings.documents}"))
    _refuse(wrong)


def check_signer_places(settings: SignerSettings) -> None:
    """The same for the signer: the folders of its sockets."""
    sockets = {"sign_socket": settings.sign_socket, "admin_socket": settings.admin_socket}
    _refuse([FieldError(_variable((name,)), f"nothing can be written into {path.parent}")
             for name, path in sockets.items() if not os.access(path.parent, os.W_OK)])


def _can_be_written(folder: Path) -> bool:
    """Or made: the nearest folder above it that is there decides."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _wrong_address(name: str, url: str) -> list[FieldError]:
    if url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
        return []
    return [FieldError(_variable((name,)), "must begin with sqlite:/// or postgresql+psycopg://")]


def _unreadable(error: SettingsError) -> Invalid:
    """A list that is not JSON, which is noticed before the fields are."""
    field = re.search(r'field "(\w+)"', str(error))
    name = _variable((field[1],)) if field else "SIGNING_…"
    return _not_usable([FieldError(name, "is not a JSON list, such as [991]")])


def _in_words(error: ValidationError) -> Invalid:
    wrong = [FieldError(_variable(problem["loc"]), _why(problem["type"], problem["msg"]))
             for problem in error.errors(include_input=False)]
    return _not_usable(wrong)


def _refuse(wrong: list[FieldError]) -> None:
    if wrong:
        raise _not_usable(wrong)


def _not_usable(wrong: list[FieldError]) -> Invalid:
    names = ", ".join(field.field for field in wrong)
    return Invalid(f"Settings are missing or wrong: {names}.", code="settings", errors=wrong)


def _why(kind: str, message: str) -> str:
    return "is not set" if kind == "missing" else message.removeprefix("Value error, ")


def _variable(location: tuple[int | str, ...]) -> str:
    return "SIGNING_" + "_".join(str(part) for part in location).upper()
