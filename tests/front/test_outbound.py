"""The guarded client goes nowhere it was not told to go."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signing_service.errors import Invalid, SigningError, TooLarge, Unavailable
from signing_service.front.outbound import AllowList, Destination, Outbound, Resolve, Response, is_public
from tests.support.authority import TestCa, ec_key
from tests.support.outside import Outside, Question, plain, resolving

T = TypeVar("T")
LOCAL = ("127.0.0.0/8",)


def run(work: Awaitable[T]) -> T:
    async def whole() -> T:
        return await work

    return asyncio.run(whole())


async def post(url: str, allowed: AllowList, resolve: Resolve | None = None, *, limit: int = 1000) -> Response:
    outbound = Outbound(allowed, **({"resolve": resolve} if resolve else {}))
    try:
        return await outbound.post(url, b"{}", {"X-Kind": "test"}, limit=limit, deadline=2)
    finally:
        await outbound.close()


# Every spelling of the machine itself, its network, and the cloud's metadata service. `{port}` is the canary's.
FORBIDDEN_URLS = {
    "loopback": "http://127.0.0.1:{port}/",
    "another loopback": "http://127.8.9.10:{port}/",
    "short": "http://127.1:{port}/",
    "decimal": "http://2130706433:{port}/",
    "hexadecimal": "http://0x7f000001:{port}/",
    "hexadecimal parts": "http://0x7f.0.0.1:{port}/",
    "octal": "http://0177.0.0.1:{port}/",
    "leading zeros": "http://127.000.000.001:{port}/",
    "all zeros": "http://0.0.0.0:{port}/",
    "zero": "http://0:{port}/",
    "a trailing dot": "http://127.0.0.1.:{port}/",
    "IPv6 loopback": "http://[::1]:{port}/",
    "IPv6 loopback in full": "http://[0:0:0:0:0:0:0:1]:{port}/",
    "IPv6 unspecified": "http://[::]:{port}/",
    "IPv4-mapped": "http://[::ffff:127.0.0.1]:{port}/",
    "IPv4-mapped in hexadecimal": "http://[::ffff:7f00:1]:{port}/",
    "IPv4-compatible": "http://[::127.0.0.1]:{port}/",
    "NAT64": "http://[64:ff9b::7f00:1]:{port}/",
    "local NAT64": "http://[64:ff9b:1::7f00:1]:{port}/",
    "6to4": "http://[2002:7f00:1::]:{port}/",
    "Teredo": "http://[2001:0:7f00:1::]:{port}/",
    "link-local": "http://169.254.169.254:{port}/latest/meta-data/",
    "IPv6 link-local": "http://[fe80::1]:{port}/",
    "IPv6 link-local with a zone": "http://[fe80::1%25lo]:{port}/",
    "unique local": "http://[fd00:ec2::254]:{port}/",
    "site local": "http://[fec0::1]:{port}/",
    "ten": "http://10.0.0.1:{port}/",
    "one seven two": "http://172.16.0.1:{port}/",
    "one nine two": "http://192.168.1.1:{port}/",
    "carrier NAT": "http://100.64.0.1:{port}/",
    "multicast": "http://224.0.0.1:{port}/",
    "IPv6 multicast": "http://[ff02::1]:{port}/",
    "broadcast": "http://255.255.255.255:{port}/",
    "localhost": "http://localhost:{port}/",
    "localhost in capitals": "http://LOCALHOST:{port}/",
    "a user that looks like the host": "http://tsa.example.vn@127.0.0.1:{port}/",
    "a user with a port": "http://tsa.example.vn:80@127.0.0.1:{port}/",
    "a backslash": "http://tsa.example.vn\\@127.0.0.1:{port}/",
    "a fragment": "http://127.0.0.1:{port}#.tsa.example.vn/",
    "full-width digits": "http://１２７.0.0.1:{port}/",
    "circled digits": "http://①②⑦.⓪.⓪.①:{port}/",
    "an ideographic full stop": "http://127。0。0。1:{port}/",
    "percent-encoded": "http://%31%32%37.0.0.1:{port}/",
    "a tab": "http://127.0.0.1:{port}\t/",
    "a newline and a header": "http://127.0.0.1:{port}/ HTTP/1.1\r\nX: y",
    "a leading blank": " http://127.0.0.1:{port}/",
    "no host": "http://:{port}/",
    "one slash": "http:/127.0.0.1:{port}/",
    "three slashes": "http:///127.0.0.1:{port}/",
    "no scheme": "//127.0.0.1:{port}/",
    "file": "file:///etc/passwd",
    "gopher": "gopher://127.0.0.1:{port}/",
    "ftp": "ftp://127.0.0.1:{port}/",
    "a scheme in capitals": "HTTP://127.0.0.1:{port}/",
    "a port that wraps around": "http://127.0.0.1:65616/",
    "port zero": "http://127.0.0.1:0/",
    "a port with a sign": "http://127.0.0.1:+{port}/",
}


@pytest.mark.parametrize("url", FORBIDDEN_URLS.values(), ids=FORBIDDEN_URLS.keys())
def test_no_spelling_of_a_forbidden_address_reaches_the_canary(url: str) -> None:
    """Even where every host is allowed by name."""
    async def whole() -> None:
        async with Outside() as canary:
            target = url.replace("{port}", str(canary.port))
            everything = AllowList.of(("*", f"*:{canary.port}"))
            with pytest.raises(Invalid):
                await post(target, everything)
            assert canary.connections == 0

    run(whole())


FORBIDDEN_ANSWERS = {
    "loopback": "127.0.0.1", "private": "10.1.2.3", "IPv6 loopback": "::1", "mapped": "::ffff:127.0.0.1",
    "metadata": "169.254.169.254", "NAT64": "64:ff9b::a00:1", "a zone": "fe80::1%lo", "unspecified": "0.0.0.0",
    "a good one and a bad one": "203.0.114.9 127.0.0.1", "a bad one and a good one": "127.0.0.1 203.0.114.9",
}


@pytest.mark.parametrize("answer", FORBIDDEN_ANSWERS.values(), ids=FORBIDDEN_ANSWERS.keys())
def test_a_name_that_leads_to_a_forbidden_address_is_not_called(answer: str) -> None:
    async def whole() -> None:
        async with Outside() as canary:
            with pytest.raises(Invalid) as refusal:
                await post(canary.url(), AllowList.of((f"tsa.example.vn:{canary.port}",)), resolving(answer))
            assert refusal.value.code == "destination-forbidden"
            assert canary.connections == 0

    run(whole())


def test_rebinding_gains_nothing() -> None:
    """The first answer is public, the second is ours: each connection uses only what was checked for it."""
    async def whole() -> None:
        async with Outside() as canary:
            resolve = resolving("127.77.0.1", "127.0.0.1")
            allowed = AllowList.of((f"tsa.example.vn:{canary.port}",), ("127.77.0.0/16",))
            with pytest.raises(Unavailable):  # nobody listens there, and no second look-up happens
                await post(canary.url(), allowed, resolve)
            assert await resolve("tsa.example.vn", 0) == ["127.0.0.1"]  # still unused
            with pytest.raises(Invalid):
                await post(canary.url(), allowed, resolve)
            assert canary.connections == 0

    run(whole())


def test_redirects_are_not_followed() -> None:
    async def whole() -> None:
        async with Outside() as canary, Outside() as host:
            host.reply = plain(b"", 307, location=canary.url("/", "127.0.0.1"))
            answer = await post(host.url(), AllowList.of(("*", f"*:{host.port}", f"*:{canary.port}"), LOCAL),
                                resolving("127.0.0.1"))
            assert answer.status == 307
            assert (host.connections, canary.connections) == (1, 0)

    run(whole())


def test_an_allowed_host_in_an_allowed_network_gets_exactly_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def whole() -> Question:
        async with Outside() as host:
            host.reply = plain(b"taken", 202, Set_Cookie="a=b")
            answer = await post(host.url("/hook?x=1"), AllowList.of((f"tsa.example.vn:{host.port}",), LOCAL),
                                resolving("127.0.0.1"))
            assert (answer.status, answer.body) == (202, b"taken")
            return host.questions[0]

    asked = run(whole())
    assert (asked.method, asked.target, asked.body) == ("POST", "/hook?x=1", b"{}")
    assert asked.headers["x-kind"] == "test"
    assert asked.headers["host"].startswith("tsa.example.vn:")
    assert not {"cookie", "authorization", "proxy-authorization"} & asked.headers.keys()


def test_an_address_that_is_dead_does_not_stop_the_next_one() -> None:
    async def whole() -> int:
        async with Outside() as host:
            answer = await post(host.url(), AllowList.of((f"tsa.example.vn:{host.port}",), LOCAL),
                                resolving("127.77.0.1 127.0.0.1"))
            return answer.status

    assert run(whole()) == 200


def test_tls_asks_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    """The connection goes to a checked address; who answers there must still prove to be the host."""
    ca = TestCa.fresh()
    contexts = {}
    for name in ("tsa.example.vn", "other.example.vn", "127.0.0.1"):
        key = ec_key()
        shown = x509.IPAddress(ip_address(name)) if name[0] == "1" else x509.DNSName(name)
        certificate = ca.issue(name, key, [(x509.SubjectAlternativeName([shown]), False)])
        (tmp_path / name).write_bytes(certificate.public_bytes(Encoding.PEM) + key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        contexts[name] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        contexts[name].load_cert_chain(tmp_path / name)
    trusting = ssl.create_default_context(cadata=ca.certificate.public_bytes(Encoding.PEM).decode())

    async def asked(name: str, tls: ssl.SSLContext) -> int:
        async with Outside(tls=contexts[name]) as host:
            outbound = Outbound(AllowList.of((f"tsa.example.vn:{host.port}",), LOCAL),
                                resolve=resolving("127.0.0.1"), tls=tls)
            try:
                return (await outbound.get(host.url(), {}, limit=100, deadline=2)).status
            finally:
                await outbound.close()

    assert run(asked("tsa.example.vn", trusting)) == 200
    for name, tls in (("other.example.vn", trusting), ("127.0.0.1", trusting),
                      ("tsa.example.vn", ssl.create_default_context())):
        with pytest.raises(Unavailable):
            run(asked(name, tls))


async def _endless(_: Question, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


async def _silent(_: Question, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _trickling(_: Question, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _garbage(_: Question, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n" * 3)
    await writer.drain()


async def _cut_off(_: Question, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nhalf")
    await writer.drain()


MISBEHAVIOUR: dict[str, tuple[Callable[..., Awaitable[None]], type[SigningError]]] = {
    "a body without end": (_endless, TooLarge),
    "a body that announces too much": (plain(b"x" * 5000), TooLarge),
    "a header without end": (plain(b"", 200, X_Long="y" * 50_000), TooLarge),
    "silence": (_silent, Unavailable),
    "one byte at a time": (_trickling, Unavailable),
    "another protocol": (_garbage, Unavailable),
    "half an answer": (_cut_off, Unavailable),
}


@pytest.mark.parametrize(("reply", "kind"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR.keys())
def test_a_host_that_misbehaves_costs_its_limits_and_no_more(
    reply: Callable[..., Awaitable[None]], kind: type[SigningError]
) -> None:
    async def whole() -> None:
        async with Outside() as host:
            host.reply = reply
            allowed = AllowList.of((f"tsa.example.vn:{host.port}",), LOCAL)
            outbound = Outbound(allowed, resolve=resolving("127.0.0.1"))
            with pytest.raises(kind):
                await outbound.get(host.url(), {}, limit=4096, deadline=0.4)
            await outbound.close()

    run(whole())


ALLOWED = {
    "the very host": ("tsa.example.vn", "http://tsa.example.vn/", True),
    "its secure port": ("tsa.example.vn", "https://tsa.example.vn/", True),
    "another port needs to be named": ("tsa.example.vn", "http://tsa.example.vn:8080/", False),
    "a named port": ("tsa.example.vn:8080", "http://tsa.example.vn:8080/", True),
    "a named port is the only one": ("tsa.example.vn:8080", "http://tsa.example.vn/", False),
    "a subdomain is another host": ("example.vn", "http://tsa.example.vn/", False),
    "a wildcard takes subdomains": ("*.example.vn", "http://a.tsa.example.vn/", True),
    "a wildcard leaves the domain itself": ("*.example.vn", "http://example.vn/", False),
    "a suffix is not a subdomain": ("*.example.vn", "http://evilexample.vn/", False),
    "a prefix is not the host": ("tsa.example.vn", "http://tsa.example.vn.evil.org/", False),
    "an empty list takes nobody": ("", "http://tsa.example.vn/", False),
}


@pytest.mark.parametrize(("pattern", "url", "expected"), ALLOWED.values(), ids=ALLOWED.keys())
def test_the_allow_list(pattern: str, url: str, expected: bool) -> None:
    assert AllowList.of([pattern] if pattern else []).names(Destination.of(url)) is expected


def test_public_addresses_are_public() -> None:
    """The refusals above would be worth nothing if everything were refused."""
    assert all(is_public(ip_address(text)) for text in ("203.162.4.190", "2001:ee0::1", "8.8.8.8", "2606:4700::1111"))
