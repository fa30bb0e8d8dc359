"""What a document system does, over HTTP as any other client does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from signing_service.errors import Unavailable
from signing_service.register import ClientSecret

SECONDS = 60.0


@dataclass
class DocumentSystem:
    """A client with an access token."""

    http: httpx.Client

    @classmethod
    def sign_in(cls, url: str, client: ClientSecret) -> DocumentSystem:
        http = httpx.Client(base_url=url, timeout=SECONDS, trust_env=False)
        answer = http.post("/oauth2/token", data={"grant_type": "client_credentials"},
                           auth=(client.client_id, client.secret))
        token = _json(answer)["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        return cls(http)

    def submit(
        self, document: Path, signatory: str, issuing_agency: str, number: str, **more: str,
    ) -> dict[str, Any]:
        form = {
            "document_type": "KH", "number": number, "symbol": "KH-UBND", "issuing_agency": issuing_agency,
            "subject": "Kế hoạch chuyển đổi số năm 2026", "signatory": signatory,
        } | more
        with document.open("rb") as file:
            return _json(self.http.post(
                "/api/v1/signing-requests", data=form, files={"file": (document.name, file, "application/pdf")}))

    def try_to_confirm(self, request_id: str, code: str) -> httpx.Response:
        """With a code that somebody told: where the policy wants the phone, this is refused."""
        return self.http.post(f"/api/v1/signing-requests/{request_id}/confirm", json={"code": code})

    def signed(self, request_id: str) -> dict[str, Any]:
        """The signing request after a confirmation, when it has come to its end."""
        while True:
            found = _json(self.http.get(f"/api/v1/signing-requests/{request_id}", params={"wait": 10}))
            if found["state"] not in ("signing", "finishing"):
                return found

    def download(self, request_id: str) -> bytes:
        answer = self.http.get(f"/api/v1/signing-requests/{request_id}/signed-document")
        _check(answer)
        return answer.content

    def receipt(self, request_id: str) -> dict[str, Any]:
        return _json(self.http.get(f"/api/v1/signing-requests/{request_id}/receipt"))

    def withdraw(self, request_id: str) -> None:
        _check(self.http.post(f"/api/v1/signing-requests/{request_id}/withdraw", json={"reason": "demonstration"}))


def _json(answer: httpx.Response) -> dict[str, Any]:
    _check(answer)
    found: dict[str, Any] = answer.json()
    return found


def _check(answer: httpx.Response) -> None:
    if not answer.is_success:
        raise Unavailable(f"The server answered {answer.status_code}: {answer.text[:500]}", code="demo-refused")
