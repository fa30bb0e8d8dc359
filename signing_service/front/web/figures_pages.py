"""The figures of a period: a page, one for paper, and files for a spreadsheet or a program."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from signing_service import figures
from signing_service.accounts import Staff
from signing_service.figures import Figures, Period, Table
from signing_service.front.runtime import Runtime
from signing_service.front.web import visitors
from signing_service.front.web.audience import Screen
from signing_service.front.web.pages import page
from signing_service.front.web.visitors import Auditing

router = APIRouter(route_class=Screen)

CSV, JSONL = "text/csv; charset=utf-8", "application/jsonl; charset=utf-8"
BARS = 12  # of one chart; the table below it has all
MARK = "\ufeff"  # spreadsheets read a file as UTF-8 when it begins with this


@router.get("/console/figures", name="figures")
async def show(request: Request, staff: Auditing, first: str = "", last: str = "", agency: str = "") -> Response:
    found = await _figures(request, staff, first, last, agency)
    return page(request, "figures/page.html", **_told(request, found), before=found.period.before(),
                after=found.period.after(), tables=list(Table))


@router.get("/console/figures/print", name="figures_print")
async def show_for_paper(
    request: Request, staff: Auditing, first: str = "", last: str = "", agency: str = ""
) -> Response:
    found = await _figures(request, staff, first, last, agency, "figures: print")
    return page(request, "figures/paper.html", **_told(request, found))


@router.get("/console/figures.csv", name="figures_csv")
async def csv_file(
    request: Request, staff: Auditing, first: str = "", last: str = "", agency: str = "", table: Table = Table.LINES
) -> Response:
    found = await _figures(request, staff, first, last, agency, f"figures: csv {table}")
    return _file(MARK + figures.as_csv(found, table), CSV, f"{table}_{_name(found)}.csv")


@router.get("/console/figures.jsonl", name="figures_jsonl")
async def jsonl_file(request: Request, staff: Auditing, first: str = "", last: str = "", agency: str = "") -> Response:
    found = await _figures(request, staff, first, last, agency, "figures: jsonl")
    return _file(figures.as_jsonl(found), JSONL, f"figures_{_name(found)}.jsonl")


async def _figures(
    request: Request, staff: Staff, first: str, last: str, agency: str, purpose: str = "figures"
) -> Figures:
    rt: Runtime = request.app.state.rt
    now, zone = rt.clock(), rt.settings.zone
    period = Period.parse(first, last, now.astimezone(zone).date())
    return await rt.db.run(
        figures.figures, rt.db, staff, now, period, zone, agency=agency.strip() or None, purpose=purpose)


def _told(request: Request, found: Figures) -> dict[str, Any]:
    language = visitors.language(request)
    return {"found": found, "bars": BARS, "ceiling": ceiling, "number": lambda value: number(value, language),
            "percent": lambda part, whole: percent(part, whole, language),
            "took": lambda seconds: took(seconds, language), "dated": dated}


def _name(found: Figures) -> str:
    return f"{found.period.first}_{found.period.last}"


def _file(text: str, media_type: str, name: str) -> Response:
    return Response(text, media_type=media_type, headers={
        "Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"})


# ------------------------------------------------------------------------------------------- how numbers are written


def number(value: int, language: str) -> str:
    """1.234 in Vietnamese, 1,234 in English."""
    text = f"{value:,}"
    return text.replace(",", ".") if language == "vi" else text


def percent(part: int, whole: int, language: str) -> str:
    """One decimal; nothing of nothing is a dash."""
    if not whole:
        return "–"
    text = f"{100 * part / whole:.1f}%"
    return text.replace(".", ",") if language == "vi" else text


def took(seconds: float | None, language: str) -> str:
    """A length of time in its two largest units: 6 min 58 s, 2 h 05 min, 3 d 4 h."""
    if seconds is None:
        return "–"
    day, hour, minute, second = ("ngày", "giờ", "phút", "giây") if language == "vi" else ("d", "h", "min", "s")
    whole = round(seconds)
    if whole >= 86_400:
        return f"{whole // 86_400} {day} {whole % 86_400 // 3600} {hour}"
    if whole >= 3600:
        return f"{whole // 3600} {hour} {whole % 3600 // 60} {minute}"
    return f"{whole // 60} {minute} {whole % 60} {second}" if whole >= 60 else f"{whole} {second}"


def dated(name: str) -> str:
    """2026-11-22 as 22/11/2026, and 2026-11 as 11/2026."""
    return "/".join(reversed(name.split("-")))


def ceiling(value: int) -> int:
    """Where the axis of a chart ends: the next 1, 2 or 5 with zeros, and at least 2."""
    step = 1
    while True:
        for digit in (1, 2, 5):
            if digit * step >= max(value, 2):
                return digit * step
        step *= 10
