"""The same town as processes of their own: signer, jobs and front, SoftHSM, and the time on the wall.

    with RealTown.open(directory, official="Nguyễn Văn An") as town:
        town.ticket(town.chairman)     # an operator's act over admin.sock

Codes are those of the present, so few acts fit without waiting half a minute: this is for one whole journey.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from signing_service.cli.demo.phones import Phone
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.support.city import DEFAULT
from tests.support.service import PLAN, Service, until
from tests.support.town import Townsman


class RealTown:
    """A `Service` with one official who has a certificate, and no phone yet."""

    def __init__(self, service: Service, chairman: Townsman) -> None:
        self.service, self.chairman = service, chairman
        self.url = service.at("")
        self._apps: dict[str, Phone] = {}

    @classmethod
    @contextmanager
    def open(cls, directory: Path, *, official: str) -> Iterator[RealTown]:
        service = Service(directory, f"sqlite:///{directory / 'signing.db'}")
        try:
            city = service.city
            city.acts(m.ActivatePolicy("phone", DEFAULT))
            signatory_id = city.acts(m.AddSignatory(official, "H26.1", "chairman"))[0].id
            credential_id = city.acts(m.AddCredential("personal", "H26.1", "p-256", None, signatory_id))[0].id
            city.certify(credential_id, official)
            service.start()
            yield cls(service, Townsman(signatory_id, official, credential_id))
        finally:
            service.close()

    def ticket(self, person: Townsman) -> str:
        operator = Townsman(self.service.city.operator.id, "Operator", seed=self.service.city.operator.secret)
        act = m.Act(operator.id, self.code(operator), (m.IssueTicket(person.id),))
        result = ask_once(self.service.directory / "admin.sock", act, m.Done).results[0]
        assert result.error is None, result
        return f"/enrol/{result.data}"

    def code(self, person: Townsman) -> str:
        """A code that was not used yet; waits where there is none."""
        app = self._apps.setdefault(person.seed, Phone(f"otpauth://totp/town?secret={person.seed}"))
        return app.code()

    def submits(self, person: Townsman) -> dict[str, Any]:
        with self.service.http() as http:
            answer = http.post("/api/v1/signing-requests", data=self._form(person),
                               files={"file": ("ke-hoach.pdf", PLAN.read_bytes(), "application/pdf")})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def _form(self, person: Townsman) -> dict[str, str]:
        return {"document_type": "KH", "number": "201", "symbol": "KH-UBND", "issuing_agency": "H26.1",
                "subject": "Kế hoạch chuyển đổi số", "signatory": person.id}

    def downloads(self, made: dict[str, Any]) -> bytes:
        until(lambda: self.service.state(made["id"]) == "signed", what="the signed document")
        return self.service.signed_document(made["id"])
