"""The ground under every screen: who is let in, what another site sends, and what a refusal looks like."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import PlainTextResponse, Response

from signing_service.errors import Denied, Invalid, NotFound, Reason, Unavailable
from signing_service.front.web import audience, pages, visitors
from signing_service.front.web.audience import SCREENS, Audience, Screen
from signing_service.front.web.pages import page
from tests.support.world import Stage, World

BROWSER = {"accept": "text/html"}


def trial(world: World, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The screens' own machinery around two screens of a trial."""
    names = {"trial_form": Audience.EVERYBODY, "trial_act": Audience.EVERYBODY, "trial_refused": Audience.EVERYBODY,
             "trial_auditor": Audience.AUDITOR, "trial_official": Audience.OFFICIAL}
    monkeypatch.setattr(audience, "SCREENS", names)
    router = APIRouter(route_class=Screen)

    @router.get("/form", name="trial_form")
    async def form(request: Request) -> Response:
        return page(request, "mistake.html", key="error.internal", detail="", tries_left=None, wait=None, findings=())

    @router.post("/act", name="trial_act")
    async def act(request: Request) -> Response:
        return PlainTextResponse("done")

    @router.get("/refused/{kind}", name="trial_refused")
    async def refused(kind: str) -> Response:
        raise {"invalid": Invalid("<b>x</b>"), "away": Unavailable("gone", retry_after=7), "missing": NotFound("no"),
               "denied": Denied("no", findings=[Reason("hours", "<script>1</script>")])}[kind]

    @router.get("/auditor", name="trial_auditor")
    async def auditor() -> Response:
        return PlainTextResponse("in")

    @router.get("/official", name="trial_official")
    async def official() -> Response:
        return PlainTextResponse("in")

    app = FastAPI()
    app.state.rt = world.rt
    audience.include(app, [router])
    return app


def visitor(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                             base_url="https://signing.test")


def test_a_screen_that_no_table_names_does_not_exist() -> None:
    router = APIRouter(route_class=Screen)
    with pytest.raises(LookupError, match="declares no audience"):
        router.get("/", name="never-declared")(lambda: None)


def test_a_screen_that_the_table_names_and_nobody_made_stops_the_start() -> None:
    with pytest.raises(LookupError, match="differ"):
        audience.include(FastAPI(), [])


def test_every_screen_is_made_ready_before_somebody_asks_for_it() -> None:
    assert list(pages.warmed()) == pages.environment().list_templates()


def test_the_table_holds_nothing_but_screens(world: World) -> None:
    assert all(isinstance(each, Audience) for each in SCREENS.values())


CROSS_SITE = {
    "another site's form": {"sec-fetch-site": "cross-site"},
    "another site's form below the same domain": {"sec-fetch-site": "same-site"},
    "a form that was typed into the address": {"sec-fetch-site": "none"},
    "an old browser that tells another origin": {"origin": "https://evil.test"},
    "an old browser that tells no origin": {},
    "an origin that hides itself": {"origin": "null"},
}


@pytest.mark.parametrize("headers", CROSS_SITE.values(), ids=CROSS_SITE)
def test_what_another_site_sends_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str],
) -> None:
    app = trial(world, monkeypatch)

    async def story() -> tuple[httpx.Response, httpx.Response]:
        async with visitor(app) as browser:
            token = await token_of(browser)
            forged = await browser.post("/act", data={"csrf": token}, headers=headers)
            own = await browser.post("/act", data={"csrf": token}, headers={"sec-fetch-site": "same-origin"})
            return forged, own

    forged, own = world.stage.run(story())
    assert forged.status_code == 403
    assert (own.status_code, own.text) == (200, "done")


async def token_of(browser: httpx.AsyncClient) -> str:
    await browser.get("/form")
    request = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "state": {},
                       "headers": [(b"cookie", f"{visitors.VISIT}={browser.cookies[visitors.VISIT]}".encode())],
                       "app": browser._transport.app})  # type: ignore[attr-defined]  # the app under trial
    from signing_service.front.web import forgery

    return forgery.token(request)


@pytest.mark.parametrize("shown", ["", "0" * 64, "́", None])
def test_a_form_without_the_right_token_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, shown: str | None,
) -> None:
    app = trial(world, monkeypatch)

    async def story() -> httpx.Response:
        async with visitor(app) as browser:
            await browser.get("/form")
            return await browser.post("/act", data={} if shown is None else {"csrf": shown},
                                      headers={"sec-fetch-site": "same-origin"})

    assert world.stage.run(story()).status_code == 403


def test_a_form_that_carries_no_file_is_refused_as_one_that_does_before_it_fills_the_memory(
    world: World, monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = trial(world, monkeypatch)

    async def story() -> httpx.Response:
        async with visitor(app) as browser:
            token = await token_of(browser)
            return await browser.post("/act", data={"csrf": token}, files={"file": b"%PDF"},
                                      headers={"sec-fetch-site": "same-origin"})

    assert world.stage.run(story()).status_code == 400


def test_a_zero_byte_in_a_field_is_a_mistake_and_never_reaches_the_database(either: World) -> None:
    phone = either.browser()
    answer = phone.sends(phone.opens("/console/sign-in"), "/console/sign-in", name="\x00", password="x", code="1")
    assert answer.status_code == 400


def test_a_browser_that_tells_only_the_origin_may_tell_it_with_our_own_forms(world: World) -> None:
    told = world.browser().opens("/stop").headers.get_list("referrer-policy")
    assert told == ["strict-origin"]  # with `no-referrer` it says `Origin: null`, and is refused


def test_a_token_is_worthless_in_another_browser(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    app = trial(world, monkeypatch)

    async def story() -> httpx.Response:
        async with visitor(app) as mine, visitor(app) as theirs:
            token = await token_of(mine)
            await theirs.get("/form")
            return await theirs.post("/act", data={"csrf": token}, headers={"sec-fetch-site": "same-origin"})

    assert world.stage.run(story()).status_code == 403


def test_who_is_not_signed_in_is_sent_to_sign_in_and_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = trial(world, monkeypatch)

    async def story() -> httpx.Response:
        async with visitor(app) as browser:
            return await browser.get("/auditor?state=signed&q=a%26b")

    answer = world.stage.run(story())
    assert answer.status_code == 303
    assert answer.headers["location"] == "/console/sign-in?next=%2Fauditor%3Fstate%3Dsigned%26q%3Da%2526b"


def test_a_phone_that_nobody_knows_is_told_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    app = trial(world, monkeypatch)

    async def story() -> httpx.Response:
        async with visitor(app) as browser:
            browser.cookies.set(visitors.PHONE, "ph_" + "0" * 32 + "." + "0" * 64)
            return await browser.get("/official")

    answer = world.stage.run(story())
    assert answer.status_code == 401
    assert "liên kết kích hoạt" in answer.text


KINDS = {"invalid": 400, "away": 503, "missing": 404, "denied": 403}


@pytest.mark.parametrize(("kind", "status"), KINDS.items())
@pytest.mark.parametrize("language", ["vi", "en"])
def test_a_refusal_is_a_page_with_its_status_and_nothing_of_it_is_markup(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, status: int, language: str,
) -> None:
    app = trial(world, monkeypatch)

    async def story() -> httpx.Response:
        async with visitor(app) as browser:
            return await browser.get(f"/refused/{kind}?lang={language}", headers=BROWSER)

    answer = world.stage.run(story())
    assert answer.status_code == status
    assert f'<html lang="{language}">' in answer.text
    assert "<b>x</b>" not in answer.text
    assert "<script>1" not in answer.text
    assert "'unsafe" not in answer.headers["content-security-policy"]
    assert re.search("default-src 'none'.*frame-ancestors 'none'", answer.headers["content-security-policy"])
    assert answer.headers.get("retry-after") == ("7" if kind == "away" else None)


def test_an_address_that_nothing_answers_is_a_page_for_people_and_a_problem_for_programs(world: World) -> None:
    person = world.asks("GET", "/no-such-page", headers={"accept": "text/html"})
    program = world.asks("GET", "/api/v1/nothing", headers={"accept": "text/html"})
    assert (person.status_code, person.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert (program.status_code, program.headers["content-type"]) == (404, "application/problem+json")


def test_an_asset_with_its_mark_is_kept_for_ever_and_without_it_is_asked_for_again(world: World) -> None:
    from signing_service.front.web import assets

    kept = world.asks("GET", assets.address("app.css"))
    plain = world.asks("GET", "/static/app.css")
    again = world.asks("GET", "/static/app.css", headers={"if-none-match": plain.headers["etag"]})
    assert "immutable" in kept.headers["cache-control"]
    assert plain.headers["cache-control"] == "no-cache"
    assert again.status_code == 304
    assert world.asks("GET", "/static/..%2f__init__.py").status_code == 404
    assert world.asks("GET", "/static/nothing.js").status_code == 404


ADDRESSES = {
    "somebody who comes straight": ("203.0.113.9", None, "203.0.113.9"),
    "somebody who says where they are": ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
    "our proxy": ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
    "our proxy, after somebody's own invention": ("127.0.0.1", "10.0.0.1, 198.51.100.7", "198.51.100.7"),
    "one of the many addresses that an IPv6 holder has": ("127.0.0.1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    "our proxy, silent": ("127.0.0.1", None, "127.0.0.1"),
}


@pytest.mark.parametrize(("peer", "said", "believed"), ADDRESSES.values(), ids=ADDRESSES)
def test_where_a_visitor_is_our_own_proxies_say_and_nobody_else(
    stage: Stage, tmp_path: Path, peer: str, said: str | None, believed: str,
) -> None:
    with World.open(stage, tmp_path, proxies=("127.0.0.0/8",)) as world:
        headers = [] if said is None else [(b"x-forwarded-for", said.encode())]
        app = FastAPI()
        app.state.rt = world.rt
        request = Request({"type": "http", "headers": headers, "client": (peer, 1), "app": app})
        assert visitors.address_of(request) == believed
