"""The service as it is run: with the settings that it has by itself, where tests take shorter leases and deadlines."""

from __future__ import annotations

from tests.support.service import Service

SHORT = ("SIGNING_LEASE_SECONDS", "SIGNING_INTENT_SECONDS")


class Served(Service):
    """Its processes have the leases and deadlines of a new installation."""

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment().items() if name not in SHORT}
