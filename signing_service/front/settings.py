"""The front half's settings: read once from `SIGNING_*`, frozen, handed on. Secrets are paths to files."""

from __future__ import annotations

import json
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SECRET_BYTES = 32
MIB = 1024 * 1024
DEVELOPMENT = Path(".signing")  # where the development profile keeps everything
STAMP_FONT = Path("/usr/share/fonts/truetype/liberation2/LiberationSerif-Regular.ttf")  # the metrics of Times New Roman


class Profile(StrEnum):
    """`development` may fall back to paths below `.signing`; `production` names everything itself."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


Words = Annotated[tuple[str, ...], NoDecode]  # in the environment: separated by commas or blanks, or a JSON list


class FrontSettings(BaseSettings):
    """Everything the front and its jobs are told from outside. ValidationError (a ValueError) names what is wrong."""

    model_config = SettingsConfigDict(env_prefix="SIGNING_", frozen=True, extra="ignore")

    profile: Profile = Profile.PRODUCTION
    database_url: str
    documents: Path
    sign_socket: Path
    admin_socket: Path
    front_secret_file: Path
    listen_host: str = "127.0.0.1"
    listen_port: int = Field(default=8080, ge=0, le=65_535)
    probe_host: str = "127.0.0.1"
    probe_port: int | None = Field(default=None, ge=1, le=65_535)  # of a door for probes alone
    proxies: Words = ()  # ranges of our own proxies: what they say of where a visitor is, is believed
    public_url: str = "http://127.0.0.1:8080"  # how clients reach us; stands in webhooks and receipts
    timezone: str = "Asia/Ho_Chi_Minh"
    service_name: str = Field(default="Ký số tập trung", min_length=1, max_length=80)  # on every screen
    help_contact: str | None = Field(default=None, max_length=120)  # whom officials call, such as a number of telephone
    stamp_font: Path = STAMP_FONT

    max_document_bytes: int = Field(default=50 * MIB, ge=1024)
    reserve_bytes: int = Field(default=256 * MIB, ge=0)  # of disk that documents leave to the log and the database
    max_body_bytes: int = Field(default=MIB, ge=1024)  # of everything that carries no document
    max_header_bytes: int = Field(default=16_384, ge=1024)
    body_seconds: float = Field(default=60.0, gt=0)   # for a whole body, however it trickles
    chunk_seconds: float = Field(default=15.0, gt=0)  # between two pieces of one
    most_requests: int = Field(default=256, ge=1)     # under way at once; more is 503
    most_uploads: int = Field(default=8, ge=1)        # of one client at once; more is 429
    most_waiting: int = Field(default=1000, ge=0)     # long polls, which cost a socket and nothing else
    database_connections: int = Field(default=8, ge=1, le=100)
    pdf_workers: int | None = Field(default=None, ge=2, le=64)  # None: as many as cores, at least two
    token_seconds: int = Field(default=3600, ge=60, le=86_400)
    idempotency_seconds: int = Field(default=86_400, ge=60)

    outbound_hosts: Words = ()
    outbound_networks: Words = ()  # ranges that are not public and may be called all the same
    tsa_urls: Words = ()           # outside authorities, tried in order; none: our own signs timestamps
    tsa_public: bool = False       # may `POST /tsa` be used without a token, as openssl and curl do?
    trust_roots: Path | None = None  # a directory of certificates (PEM or DER) that judging trusts

    keep_ended_days: int = Field(default=30, ge=1)
    keep_delivered_days: int = Field(default=90, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _development_paths(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("profile") != Profile.DEVELOPMENT:
            return values
        return {
            "database_url": f"sqlite:///{DEVELOPMENT / 'signing.db'}",
            "documents": DEVELOPMENT / "documents",
            "sign_socket": DEVELOPMENT / "sign.sock",
            "admin_socket": DEVELOPMENT / "admin.sock",
            "front_secret_file": DEVELOPMENT / "front.secret",
            "tsa_public": True,
        } | values

    @field_validator("outbound_hosts", "outbound_networks", "tsa_urls", "proxies", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return json.loads(value) if value.lstrip().startswith("[") else tuple(value.replace(",", " ").split())

    @field_validator("outbound_networks", "proxies")
    @classmethod
    def _known_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ip_network(text)  # its ValueError says what is wrong
        return value

    @field_validator("probe_port")
    @classmethod
    def _door_of_its_own(cls, value: int | None, known: ValidationInfo) -> int | None:
        """Also where the addresses differ: by its port we tell who came in through which door."""
        if value is not None and value == known.data.get("listen_port"):
            raise ValueError("must be another port than SIGNING_LISTEN_PORT")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"there is no time zone {value!r}") from error
        return value

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def front_secret(self) -> bytes:
        """The secret that webhook keys and fingerprints derive from. ValueError unless the file has 32 bytes."""
        try:
            secret = self.front_secret_file.read_bytes()
        except OSError as error:
            raise ValueError(f"front_secret_file {self.front_secret_file} cannot be read: {error.strerror}") from error
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"front_secret_file {self.front_secret_file} must hold exactly {SECRET_BYTES} bytes")
        return secret
