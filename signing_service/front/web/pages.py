"""A template becomes an answer: escaped, in the visitor's language, and with nothing inline for a script to hide in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache, partial
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, Response

from signing_service.errors import Invalid
from signing_service.front.runtime import Runtime
from signing_service.front.settings import MIB
from signing_service.front.web import assets, forgery, formats, visitors, words

CONTENT_SECURITY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
    "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'", "manifest-src 'self'", "worker-src 'self'",
))
HEADERS = {"Content-Security-Policy": CONTENT_SECURITY, "Cache-Control": "no-store", "Vary": "Cookie",
           "Cross-Origin-Opener-Policy": "same-origin",
           # Not `no-referrer`: it makes a browser say `Origin: null` of our own forms, and an older one says no more.
           "Referrer-Policy": "strict-origin",
           "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()"}
MOST_FIELDS, LARGEST_FIELD = 1000, MIB  # a review of 200 documents has two fields for each


@cache
def environment() -> Environment:
    return Environment(
        loader=PackageLoader("signing_service.front.web", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"],
    )


def warmed() -> Iterator[str]:
    """Compile every template, one at each step, so that its first visitor does not wait for it."""
    for name in environment().list_templates():
        environment().get_template(name)
        yield name


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """The page that a template gives. What the template may use besides `context` is listed in `_always`."""
    text = environment().get_template(template).render(_always(request) | context)
    response = HTMLResponse(text, status, HEADERS)
    visitors.keep_visit(request, response)
    visitors.keep_language(request, response)
    return response


async def fields(request: Request) -> FormData:
    """The form that was sent, read once, within bounds. Invalid where a zero byte is in it: PostgreSQL takes none."""
    form = await request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=LARGEST_FIELD)
    if any(isinstance(value, str) and "\x00" in value for value in form.values()):
        raise Invalid("There is a zero byte in the form.", code="form")
    return form


def _always(request: Request) -> dict[str, Any]:
    rt: Runtime = request.app.state.rt
    language, zone = visitors.language(request), rt.settings.zone
    return {
        "t": partial(words.say, language), "has_words": words.has, "lang": language,
        "asset": assets.address, "csrf": lambda: _token_field(request), "csrf_token": lambda: forgery.token(request),
        "official": getattr(request.state, "official", None), "staff": getattr(request.state, "staff", None),
        "path": request.url.path, "other_language": _other_language(request, language),
        "service_name": rt.settings.service_name, "help_contact": rt.settings.help_contact,
        "request_id": request.scope.get("state", {}).get("request_id"), "now": rt.clock(),
        "moment": lambda value: formats.moment(value, zone), "day": lambda value: formats.day(value, zone),
        "iso": datetime.isoformat, "size": partial(_size, language), "short": formats.short,
        "matching": formats.matching, "remaining": lambda until: formats.remaining(until, rt.clock()),
    }


def _size(language: str, count: int) -> str:
    return formats.size(count, language)


def _token_field(request: Request) -> Markup:
    return Markup('<input type="hidden" name="{}" value="{}">').format(forgery.FIELD, forgery.token(request))


def _other_language(request: Request, language: str) -> str:
    """The same page in the other language. What answered a form has no address of its own: then the start."""
    other = next(each for each in visitors.LANGUAGES if each != language)
    asked = [pair for pair in request.query_params.multi_items() if pair[0] != "lang"]
    path = request.url.path if request.method == "GET" and not request.url.path.startswith("//") else "/"
    return f"{path}?{urlencode([*(asked if path != '/' or request.method == 'GET' else []), ('lang', other)])}"
