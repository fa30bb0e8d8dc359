"""The guarded client against everything at once: spellings, names, rebinding and redirects; nobody reaches the canary.

The spellings themselves are the table of `tests/front/test_outbound.py`. Here the canary listens on every loopback
address of both families, on one port, so that whatever was spelt would find it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from signing_service.errors import Invalid, SigningError, Unavailable
from signing_service.front.outbound import AllowList, Outbound, Resolve, system_resolver
from tests.front.test_outbound import FORBIDDEN_URLS
from tests.support import campaign
from tests.support.outside import Outside, plain

MORE_URLS = {
    "hexadecimal with dots everywhere": "http://0x7f.0x0.0x0.0x1:{port}/",
    "hexadecimal in capitals": "http://0X7F000001:{port}/",
    "octal everywhere": "http://0177.00.00.01:{port}/",
    "octal in one": "http://017700000001:{port}/",
    "three parts": "http://127.0.1:{port}/",
    "mixed parts": "http://0x7f.1:{port}/",
    "a number that wraps around": "http://4294967296:{port}/",
    "another that does": "http://6425673729:{port}/",
    "parts that wrap around": "http://383.256.256.257:{port}/",
    "an address with five parts": "http://127.0.0.0.1:{port}/",
    "IPv4-mapped with zeros": "http://[0000:0000:0000:0000:0000:ffff:7f00:0001]:{port}/",
    "IPv4-mapped in capitals": "http://[::FFFF:127.0.0.1]:{port}/",
    "IPv4-translated": "http://[::ffff:0:127.0.0.1]:{port}/",
    "a zone of numbers": "http://[::1%251]:{port}/",
    "a future address": "http://[v1.127.0.0.1]:{port}/",
    "no closing bracket": "http://[::1:{port}/",
    "an address in brackets that needs none": "http://[127.0.0.1]:{port}/",
    "localhost with a dot": "http://localhost.:{port}/",
    "localhost below something": "http://a.localhost:{port}/",
    "the machine's IPv6 name": "http://ip6-localhost:{port}/",
    "metadata by name": "http://metadata.google.internal:{port}/",
    "a soft hyphen": "http://local\u00adhost:{port}/",
    "Arabic digits": "http://١٢٧.0.0.1:{port}/",
    "a line separator": "http://127.0.0.1\u2028:{port}/",
    "a zero byte": "http://127.0.0.1\0.tsa.example.vn:{port}/",
    "a question mark before the host": "http://?@127.0.0.1:{port}/",
    "two users": "http://a@b@127.0.0.1:{port}/",
    "a semicolon": "http://tsa.example.vn;@127.0.0.1:{port}/",
    "an encoded at sign": "http://tsa.example.vn%40127.0.0.1:{port}/",
    "an encoded slash": "http://127.0.0.1%2f:{port}/",
    "a port in Arabic digits": "http://127.0.0.1:٨٠/",
    "a port of zeros": "http://127.0.0.1:00000{port}/",
    "dict": "dict://127.0.0.1:{port}/", "javascript": "javascript://127.0.0.1:{port}/%0aalert(1)",
}
PLACES = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.192", "198.18.0.1", "224.0.0.251", "240.0.0.1", "255.255.255.255", "::1", "::",
    "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:7f00:1", "64:ff9b::127.0.0.1", "64:ff9b:1::7f00:1", "2002:7f00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
    "5f00::1", "2001:db8::1", "100::1",
)
MOVED = (301, 302, 303, 307, 308)


@dataclass
class Turncoat:
    """A resolver with two faces: what it says first and what it says afterwards."""

    faces: Sequence[str]
    asked: int = 0

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        self.asked += 1
        return [self.faces[min(self.asked, len(self.faces)) - 1]]


@dataclass
class Tally:
    """What was tried, and what was refused before anything was sent."""

    tried: int = 0
    refused: int = 0
    let_pass: list[str] = field(default_factory=list)


@cache
def _trusting() -> ssl.SSLContext:
    """Made once: the roots of the system take a while to read."""
    return ssl.create_default_context()


def _client(allowed: AllowList, resolve: Resolve = system_resolver) -> Outbound:
    return Outbound(allowed, resolve=resolve, tls=_trusting())


async def _tries(outbound: Outbound, url: str, tally: Tally) -> None:
    tally.tried += 1
    try:
        answer = await outbound.post(url, b"{}", {}, limit=1_000, deadline=5)
        tally.let_pass.append(f"{url}: {answer.status}")
    except SigningError:
        tally.refused += 1
    finally:
        await outbound.close()


def test_nothing_that_is_forbidden_reaches_the_canary() -> None:
    asyncio.run(_whole())


async def _whole() -> None:
    async with Outside() as canary, Outside(address="::1") as sixth:
        ports = {str(each.port) for each in (canary, sixth)}
        everything = AllowList.of(("*", *(f"*:{port}" for port in ports)))
        spelt, named, turned, moved = Tally(), Tally(), Tally(), Tally()
        for port in ports:
            for url in (FORBIDDEN_URLS | MORE_URLS).values():
                await _tries(_client(everything), url.replace("{port}", port), spelt)
            for place in PLACES:
                await _tries(_client(everything, Turncoat([place])), f"http://tsa.example.vn:{port}/", named)
        await _rebinds(canary, turned)
        await _redirects(canary, moved)
        hits = canary.connections + sixth.connections
    campaign.proven("ssrf", spellings=len(FORBIDDEN_URLS | MORE_URLS), places_behind_names=len(PLACES),
                    tried=sum(each.tried for each in (spelt, named, turned, moved)), rebinding_tries=turned.tried,
                    redirects=moved.tried, hits=hits)
    assert [each.let_pass for each in (spelt, named, turned)] == [[], [], []]
    assert moved.let_pass == []
    assert hits == 0


async def _rebinds(canary: Outside, tally: Tally) -> None:
    """A name that is public when it is checked and ours when it is called: nobody listens at the public one."""
    draw = random.Random(53)
    allowed = AllowList.of((f"tsa.example.vn:{canary.port}",), ("127.77.0.0/16",))
    for _ in range(campaign.rounds(20, 500)):
        first = f"127.77.{draw.randrange(256)}.{draw.randrange(1, 255)}"  # stands for a public one
        resolver = Turncoat([first, "127.0.0.1"])
        outbound = _client(allowed, resolver)
        try:
            await outbound.post(canary.url(), b"{}", {}, limit=1_000, deadline=5)
        except Unavailable:
            assert resolver.asked == 1  # one look-up for one connection, and it goes where that said
        await _tries(_client(allowed, resolver), canary.url(), tally)
        assert resolver.asked == 2


async def _redirects(canary: Outside, tally: Tally) -> None:
    """An answer that sends us elsewhere is an answer, and no more."""
    for status in MOVED:
        async with Outside() as host:
            host.reply = plain(b"", status, location=canary.url("/", "127.0.0.1"))
            allowed = AllowList.of(("*", f"*:{host.port}", f"*:{canary.port}"), ("127.0.0.0/8",))
            outbound = _client(allowed, Turncoat(["127.0.0.1"]))
            answer = await outbound.post(host.url(), b"{}", {}, limit=1_000, deadline=5)
            tally.tried += 1
            tally.refused += answer.status == status
            await outbound.close()


def test_the_canary_would_have_been_reached() -> None:
    """The same calls where loopback may be called: the refusals above are ours, and not the network's."""
    async def whole() -> int:
        async with Outside() as canary:
            outbound = _client(AllowList.of((f"127.0.0.1:{canary.port}",), ("127.0.0.0/8",)))
            await outbound.post(f"http://127.0.0.1:{canary.port}/", b"{}", {}, limit=1_000, deadline=5)
            await outbound.close()
            return canary.connections

    assert asyncio.run(whole()) == 1


def test_what_is_refused_is_refused_before_a_name_is_looked_up() -> None:
    """Looking up a name already tells somebody that we would call."""
    async def whole() -> int:
        resolver = Turncoat(["203.0.114.9"])
        outbound = _client(AllowList.of(("tsa.example.vn",)), resolver)
        for url in (*FORBIDDEN_URLS.values(), *MORE_URLS.values()):
            try:
                await outbound.post(url.replace("{port}", "80"), b"{}", {}, limit=1_000, deadline=5)
            except Invalid:
                continue
        await outbound.close()
        return resolver.asked

    assert asyncio.run(whole()) == 0
