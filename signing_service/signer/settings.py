"""The signer's settings: read once, frozen, passed on. Secrets are files, never values."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from hsm.settings import DeviceSettings


class SignerSettings(BaseSettings):
    """Environment variables with the prefix SIGNING_, such as SIGNING_SIGNER_DATABASE_URL."""

    model_config = SettingsConfigDict(env_prefix="SIGNING_", frozen=True, extra="ignore")

    signer_database_url: str           # a role of its own on PostgreSQL; the same file on SQLite
    anchor: Path | None = None         # a file on this machine, not in the database: `anchor.py`
    sign_socket: Path
    admin_socket: Path
    sign_users: frozenset[int] = Field(default_factory=lambda: frozenset({os.getuid()}))   # uids of the front half
    admin_users: frozenset[int] = Field(default_factory=lambda: frozenset({os.getuid()}))  # uids of operators
    pkcs11_module: Path
    pkcs11_token: str                  # a label or a pkcs11: URI (RFC 7512)
    pkcs11_pin_file: Path
    pkcs11_reserved: str | None = None  # handed to C_Initialize: NSS's softokn wants its configuration there
    softhsm_conf: Path | None = None
    device_deadline: float = 5.0       # seconds; PKCS#11 itself has no time-outs
    device_threads: int = 4
    # Keys and seeds that stay in the device, two for each person who signs: ten thousand people. SoftHSM holds 11 KiB
    # for each (230 MiB in all); a person whose two are not there costs 1.4 ms of CPU more, of 5 to 8 ms.
    resident_keys: int = 20_000
    intent_seconds: float = 30.0       # an intent may be acted upon for so long
    lease_seconds: float = 15.0        # how long a silent signer counts as alive
    idle_checkpoint_seconds: float = 600.0
    most_waiting: int = 1024           # confirmations in the queue before 503
    batch_size: int = 128              # documents, or timestamps, that share their transactions
    web_acts: bool = True              # operators may act through the web, too (DeskAct), each act with their code
    timezone: str = "Asia/Ho_Chi_Minh"
    log_origin: str = "signing.example.vn/log"
    otp_issuer: str = "Signing service"
    tsa_policy: str = "1.3.6.1.4.1.99999.1.1"   # to be replaced by the operator's own arc
    tsa_accuracy_seconds: int = 1

    def device(self) -> DeviceSettings:
        return DeviceSettings(
            module=self.pkcs11_module, token=self.pkcs11_token, pin_file=self.pkcs11_pin_file,
            softhsm_conf=self.softhsm_conf, reserved=self.pkcs11_reserved, resident_keys=self.resident_keys,
            deadline=self.device_deadline, threads=self.device_threads,
        )
