"""Static files over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from signing_service.errors import NotFound
from signing_service.front.web.assets import assets
from signing_service.front.web.audience import Screen

FOR_EVER = "public, max-age=31536000, immutable"

router = APIRouter(route_class=Screen)


@router.get("/static/{name}", name="asset")
async def asset(request: Request, name: str) -> Response:
    """An asset. Named with its mark it never changes; without, it is asked for again each time."""
    found = assets().get(name)
    if found is None:
        raise NotFound("There is no such file.")
    tag = f'"{found.mark}"'
    headers = {"ETag": tag, "Cache-Control": FOR_EVER if request.query_params.get("v") == found.mark else "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)
