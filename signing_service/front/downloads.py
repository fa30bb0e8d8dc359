"""Files going out: streamed from disk, under a name that is safe in a header (RFC 6266, RFC 8187)."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from signing_service.front.runtime import Runtime

PDF = "application/pdf"


def attachment(filename: str, fallback: str) -> str:
    """Content-Disposition: a generated name for old readers, the real one percent-encoded."""
    return f"attachment; filename=\"{fallback}\"; filename*=UTF-8''{quote(filename, safe='')}"


def signed_name(filename: str) -> str:
    """`ke-hoach.pdf` becomes `ke-hoach.signed.pdf`."""
    stem, dot, suffix = filename.rpartition(".")
    return f"{stem}.signed.{suffix}" if dot else f"{filename}.signed.pdf"


def is_current(request: Request, digest: str) -> bool:
    """Has the caller these very bytes already (RFC 9110 13.1.2)?"""
    shown = request.headers.get("if-none-match", "")
    return f'"{digest}"' in {each.strip().removeprefix("W/") for each in shown.split(",")}


def file_answer(rt: Runtime, digest: str, *, filename: str, fallback: str) -> Response:
    """The file with this digest, which is also its ETag. NotFound when it is no longer kept."""
    return FileResponse(rt.documents.path(digest), media_type=PDF, headers={
        "Content-Disposition": attachment(filename, fallback), "ETag": f'"{digest}"',
        "Repr-Digest": f"sha-256=:{_base64(digest)}:",
    })


def unchanged(digest: str) -> Response:
    return Response(status_code=304, headers={"ETag": f'"{digest}"'})


def _base64(digest: str) -> str:
    """RFC 9530: a digest of the whole representation."""
    return b64encode(bytes.fromhex(digest)).decode()
