"""The one way out: an HTTP client that goes nowhere it was not told to go.

A destination must be on the allow-list by name *and* resolve to addresses that may be reached. The name is
resolved once per connection and the connection goes to the very address that was checked, so that a name which
answers differently the second time gains nothing. No redirects, no proxies from the environment, no cookies, a
limit on the answer's size and one deadline for everything.

Addresses come from configuration, from clients (webhooks) and some day from certificates; all of them are hostile.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

import httpcore

from signing_service.errors import Invalid, TooLarge, Unavailable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Headers = Mapping[str, str]

CONNECT_SECONDS = 5.0   # per address; a dead one must not eat the whole deadline
HEADER_BYTES = 16_384   # all header values of an answer together; httpcore's own limit is 100 KiB

# Ranges that `is_global` lets pass although they lead somewhere else: translation and tunnels carry an IPv4
# address inside (RFC 6052, RFC 8215, RFC 3056, RFC 4380), and the rest was retired or is local by habit.
DETOURS = tuple(ip_network(text) for text in (
    "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96",
    "fec0::/10", "5f00::/16", "192.88.99.0/24",
))

# Strict on purpose: what this does not match is refused, so no two parsers can disagree about it. No user
# information, no backslash, no blank, no percent sign in the host, ASCII only.
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?P<target>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)",
    re.ASCII,
)
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Response:
    """What came back. Header names are lower-case; a 3xx is an answer like any other and is not followed."""

    status: int
    headers: Headers
    body: bytes


class Client(Protocol):
    """What users of `Outbound` need of it."""

    async def post(self, url: str, body: bytes, headers: Headers, *, limit: int, deadline: float) -> Response: ...


@dataclass(frozen=True)
class Destination:
    """A URL that was parsed strictly. Whether it may be reached is another question."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def of(cls, url: str) -> Destination:
        """Raises Invalid for everything that is not plainly `http(s)://host[:port]/path`."""
        match = URL.fullmatch(url) if len(url) <= 500 else None
        if match is None:
            raise Invalid("This is not an address that can be called: it must read http(s)://host[:port]/path "
                          "in lower-case ASCII without a user name.", code="address-malformed")
        host, scheme = match["host"].strip("[]"), match["scheme"]
        port = int(match["port"] or PORTS[scheme])
        if port > 65_535 or not _host_is_plain(host):
            raise Invalid("The host or port of this address is not written plainly.", code="address-malformed")
        return cls(scheme, host, port, match["target"] or "/")


def _host_is_plain(host: str) -> bool:
    """A canonical address, or a name that nobody can read as one (`127.1`, `0x7f000001`, `2130706433`)."""
    if ":" in host:
        return _parsed(host) is not None
    last = host.rsplit(".", 1)[-1]
    if last[:1].isdigit():  # WHATWG URL 3.5: a host that ends in a number is an IPv4 address in some spelling
        return _parsed(host) is not None
    return all(0 < len(label) <= 63 and label[0] != "-" and label[-1] != "-" for label in host.split("."))


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class AllowList:
    """Where we may go. Empty means nowhere.

    `hosts`: `name` (ports 80 and 443), `name:port`, `*.domain[:port]`, or `*` for every public host.
    `networks`: ranges that are not public and may be reached all the same, such as the city's own 10.20.0.0/16.
    """

    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, hosts: Iterable[str], networks: Iterable[str] = ()) -> AllowList:
        return cls(tuple(host.lower() for host in hosts), tuple(ip_network(text) for text in networks))

    def names(self, destination: Destination) -> bool:
        return any(_host_fits(pattern, destination) for pattern in self.hosts)

    def permits(self, address: Address) -> bool:
        """Public, or in a range that was allowed as it is written (never by what is embedded in it)."""
        return is_public(address) or any(
            address.version == network.version and address in network for network in self.networks
        )


def _host_fits(pattern: str, destination: Destination) -> bool:
    name, _, port = pattern.rpartition(":") if re.search(r":[0-9]+$", pattern) else (pattern, "", "")
    name = name.strip("[]")
    if destination.port not in ({int(port)} if port else set(PORTS.values())):
        return False
    if name.startswith("*."):
        return destination.host.endswith(name[1:]) and len(destination.host) > len(name) - 1
    return name in ("*", destination.host)


def is_public(address: Address) -> bool:
    """Does this address belong to one host on the public internet, and say so in its own spelling?"""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    if any(address.version == detour.version and address in detour for detour in DETOURS):
        return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    return address.is_global and not special and not address.is_loopback


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Every address of a name, as the system finds them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class Forbidden(Exception):
    """The name leads where we may not go. Inside this module only; callers see Invalid."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, checks every address, and connects to one of those it checked; TLS still asks for the name."""

    def __init__(self, allowed: AllowList, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._checked(host, port)
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(str(address), port, CONNECT_SECONDS, None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(str(addresses[-1]), port, CONNECT_SECONDS, None, socket_options)

    async def _checked(self, host: str, port: int) -> list[Address]:
        try:
            found = [ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, UnicodeError, ValueError) as error:
            raise httpcore.ConnectError(f"{host} does not resolve") from error
        if not found:
            raise httpcore.ConnectError(f"{host} has no address")
        # One forbidden address among good ones is how rebinding begins; then none of them is used.
        if not all(self._allowed.permits(address) for address in found):
            raise Forbidden(host)
        return found

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise Forbidden(path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Outbound:
    """The guarded client. One for each process; every request makes its own connection.

    Raises Invalid (`address-malformed`, `destination-forbidden`) before anything is sent, TooLarge when the answer
    is larger than `limit` bytes, and Unavailable (`destination-away`) for everything that may pass by itself.
    """

    def __init__(
        self, allowed: AllowList, *, resolve: Resolve = system_resolver, tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpcore.default_ssl_context(), network_backend=GuardedBackend(allowed, resolve),
            max_connections=50, max_keepalive_connections=0, http1=True, http2=False, retries=0,
        )

    def check(self, url: str) -> None:
        """Raises Invalid unless the address is well-formed and on the allow-list (its addresses are checked later)."""
        if not self._allowed.names(Destination.of(url)):
            raise Invalid("This host is not on the list of hosts that may be called.", code="destination-forbidden")

    async def post(self, url: str, body: bytes, headers: Headers, *, limit: int, deadline: float) -> Response:
        """Send `body`; `limit` in bytes, `deadline` in seconds for everything from the name to the last byte."""
        return await self._send("POST", url, body, headers, limit, deadline)

    async def get(self, url: str, headers: Headers, *, limit: int, deadline: float) -> Response:
        return await self._send("GET", url, b"", headers, limit, deadline)

    async def close(self) -> None:
        await self._pool.aclose()

    async def _send(
        self, method: str, url: str, body: bytes, headers: Headers, limit: int, deadline: float
    ) -> Response:
        self.check(url)
        destination = Destination.of(url)
        try:
            async with asyncio.timeout(deadline):
                return await self._exchange(method, destination, body, headers, limit)
        except Forbidden as error:
            raise Invalid("This name leads where we may not go.", code="destination-forbidden") from error
        except TimeoutError as error:
            raise Unavailable("The other side took too long.", code="destination-away") from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ssl.SSLError) as error:
            raise Unavailable("The other side cannot be reached.", code="destination-away") from error

    async def _exchange(
        self, method: str, destination: Destination, body: bytes, headers: Headers, limit: int
    ) -> Response:
        url = httpcore.URL(
            scheme=destination.scheme.encode(), host=destination.host.encode(), port=destination.port,
            target=destination.target.encode(),
        )
        async with self._pool.stream(method, url, headers=_headers(destination, headers, body), content=body) as answer:
            found = _answer_headers(answer.headers)
            return Response(answer.status, found, await _limited(answer.aiter_stream(), found, limit))


def _headers(destination: Destination, headers: Headers, body: bytes) -> list[tuple[str, str]]:
    """Ours, and nothing of the environment: no cookies, no compression (a small answer must stay small)."""
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    own = {
        "host": host if destination.port == PORTS[destination.scheme] else f"{host}:{destination.port}",
        "user-agent": "signing-service", "accept-encoding": "identity", "connection": "close",
        "content-length": str(len(body)),
    }
    return list((own | {name.lower(): value for name, value in headers.items()}).items())


def _answer_headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    if sum(len(name) + len(value) for name, value in raw) > HEADER_BYTES:
        raise TooLarge("The other side's header is larger than we accept.", code="answer-too-large")
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


async def _limited(stream: AsyncIterable[bytes], headers: Headers, limit: int) -> bytes:
    announced = headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge("The other side's answer is larger than we accept.", code="answer-too-large")
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > limit:
            raise TooLarge("The other side's answer is larger than we accept.", code="answer-too-large")
    return bytes(body)
