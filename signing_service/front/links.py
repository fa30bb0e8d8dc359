"""What can follow an answer, for programs: OpenAPI links (3.1, "Link Object"), from what was made to what is done.

FastAPI cannot know which id of an answer a later call wants, so it stands here, once, by the names of the operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Links = Mapping[str, Mapping[str, Any]]

_REQUEST: Final = {"parameters": {"request_id": "$response.body#/id"}}
_BATCH: Final = {"parameters": {"batch_id": "$response.body#/id"}}
_ENTRY: Final = "$response.body#/entries/0/id"
_SIGNED: Final[Links] = {"get_signed_document": _REQUEST, "get_receipt": _REQUEST}

# operation and status -> what may follow, and with what of the answer
LINKS: Final[Mapping[tuple[str, str], Links]] = {
    ("submit", "201"): {
        **dict.fromkeys(("get_request", "confirm", "withdraw", "refuse", "get_document"), _REQUEST), **_SIGNED,
    },
    ("confirm", "200"): {"get_request": _REQUEST, **_SIGNED},
    ("list_requests", "200"): {"get_request": {"parameters": {"request_id": "$response.body#/signing_requests/0/id"}}},
    ("create_batch", "201"): {"get_batch": _BATCH, "confirm_batch": _BATCH},
    ("confirm_batch", "200"): {"get_batch": _BATCH},
    ("list_entries", "200"): {
        "get_entry": {"parameters": {"entry_id": _ENTRY}}, "prove_inclusion": {"parameters": {"entry": _ENTRY}},
    },
}


def complete(operation: dict[str, Any]) -> None:
    """Put the links of an operation into its answers. KeyError for an answer that is not described."""
    for (name, status), links in LINKS.items():
        if name == operation["operationId"]:
            operation["responses"][status]["links"] = {
                target: {"operationId": target, **link} for target, link in links.items()}
