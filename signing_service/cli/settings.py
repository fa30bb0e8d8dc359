"""Reading the settings of both halves, with what is missing in an administrator's words."""

from __future__ import annotations

from pydantic import ValidationError

from signing_service.errors import FieldError, Invalid
from signing_service.front.settings import FrontSettings
from signing_service.signer.settings import SignerSettings


def read_front_settings() -> FrontSettings:
    """From the environment. Invalid names each variable that is missing or wrong."""
    try:
        return FrontSettings()  # type: ignore[call-arg]  # the environment gives the arguments
    except ValidationError as error:
        raise _in_words(error) from error


def read_signer_settings() -> SignerSettings:
    """The same for the half that holds the keys."""
    try:
        return SignerSettings()  # type: ignore[call-arg]  # the environment gives the arguments
    except ValidationError as error:
        raise _in_words(error) from error


def _in_words(error: ValidationError) -> Invalid:
    wrong = [FieldError(_variable(problem["loc"]), _why(problem["type"], problem["msg"]))
             for problem in error.errors(include_input=False)]
    names = ", ".join(field.field for field in wrong)
    return Invalid(f"The settings are not complete: {names}.", code="settings", errors=wrong)


def _why(kind: str, message: str) -> str:
    return "is not set" if kind == "missing" else message.removeprefix("Value error, ")


def _variable(location: tuple[int | str, ...]) -> str:
    return "SIGNING_" + "_".join(str(part) for part in location).upper()
