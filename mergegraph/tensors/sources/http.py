"""Byte ranges over HTTP, into the caller's buffer, each reply checked before a byte of it counts.

A reply counts when it is 206 for exactly the range that was asked for, of a file of the length that was planned, with
the ETag that was planned, and whole. A server that ignores the range and sends the file from its first byte would
otherwise give wrong numbers. Connections are kept and used by whichever thread comes next.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from urllib.parse import urljoin, urlsplit

from mergegraph.errors import on_one_line
from mergegraph.tensors.sources.location import fault_of_address
from mergegraph.tensors.sources.retry import Lasting, Passing, asked_to_wait, is_passing
from mergegraph.tensors.sources.traffic import count

SILENCE_SECONDS = 60.0
"""A server that sends nothing for so long counts as gone; one that is slow does not."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_KEPT_CONNECTIONS = 16
_MOST_HOPS = 5
_AGENT = "mergegraph"
_REDIRECTS = (301, 302, 303, 307, 308)


class Moved(Exception):
    """The address leads elsewhere; `address` is where."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


def server_of(address: str) -> str:
    """The host, with its port where one is written: what a person knows a server by."""
    return urlsplit(address).netloc.rpartition("@")[2]


def read_range(
    address: str,
    offset: int,
    buffer: memoryview,
    file_bytes: int,
    etag: str = "",
    modified: str = "",
    headers: Mapping[str, str] | None = None,
) -> None:
    """Fill `buffer` from byte `offset` of a file of `file_bytes`. Passing or Lasting when the reply is not that.

    Moved where the server answers with another address; `headers` are for this server alone.
    """
    last = offset + len(buffer) - 1
    asked = {"Range": f"bytes={offset}-{last}", **(headers or {})}
    if etag and not etag.startswith("W/"):
        asked["If-Match"] = etag
    elif modified and not etag:
        asked["If-Unmodified-Since"] = modified
    reply = _Exchange(address, "GET", asked)
    with reply:
        _refuse_status(reply, address)
        if reply.status == 206:
            _check_range(reply, offset, last, file_bytes)
        elif reply.status != 200 or offset or len(buffer) != file_bytes:
            raise Lasting(f"the server ignores ranges: it answered {reply.status} with {reply.length_text}", 200)
        _check_version(reply, etag, modified)
        _check_body(reply, len(buffer))
        reply.fill(buffer)


def look(address: str, headers: Mapping[str, str] | None = None) -> tuple[str, Mapping[str, str]]:
    """Where an address leads after its redirects, and the headers of the answer there. Passing or Lasting if none.

    `headers` go to the first server alone.
    """
    for _ in range(_MOST_HOPS):
        reply = _Exchange(address, "HEAD", headers or {})
        with reply:
            try:
                _refuse_status(reply, address)
            except Moved as moved:
                if server_of(moved.address) != server_of(address):
                    headers = None
                address = moved.address
                continue
            reply.finish()
            return address, reply.headers
    raise Lasting(f"the server redirects more than {_MOST_HOPS} times")


class _Exchange:
    """One request and its reply. The connection is kept for the next only after a whole body."""

    def __init__(self, address: str, method: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(address)
        self._server = server_of(address)
        self._key = (parts.scheme, self._server)
        self._whole = False
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Accept-Encoding": "identity", "User-Agent": _AGENT, **headers}
        count(self._server, requests=1)
        self._connection, self._reply = _sent(self._key, method, target, sent)
        self.status = self._reply.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in self._reply.getheaders()}

    @property
    def length_text(self) -> str:
        return f"{self.headers['content-length']} bytes" if "content-length" in self.headers else "a body of any length"

    def fill(self, buffer: memoryview) -> None:
        done = 0
        try:
            while done < len(buffer) and (got := self._reply.readinto(buffer[done:])):
                done += got
        except (OSError, http.client.HTTPException) as error:
            raise Passing(_failure(error)) from error
        finally:
            count(self._server, body_bytes=done)
        if done < len(buffer):
            raise Passing(f"the body ended early: {done:,} of {len(buffer):,} bytes came")
        self.finish()

    def finish(self) -> None:
        """The body is read to its end."""
        self._whole = not self._reply.will_close

    def __enter__(self) -> _Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        if self._whole:
            _keep(self._key, self._connection)
        else:
            self._connection.close()


def _refuse_status(reply: _Exchange, address: str) -> None:
    status = reply.status
    if status in _REDIRECTS and "location" in reply.headers:
        target = _target(address, reply.headers["location"])
        if urlsplit(address).scheme == "https" and urlsplit(target).scheme != "https":
            raise Lasting(f"the server redirects to {server_of(target)} without encryption")
        raise Moved(target)
    if is_passing(status):
        raise Passing(f"it answered {status} {_PHRASES.get(status, '')}".rstrip(), asked_to_wait(reply.headers))
    if not 200 <= status < 300:
        raise Lasting(f"it answered {status} {_PHRASES.get(status, '')}".rstrip(), status)


def _target(address: str, given: str) -> str:
    """Where a redirect leads. Lasting where it leads to nothing that can be asked."""
    try:
        target = urljoin(address, given)
    except ValueError as error:
        raise Lasting(f"the server redirects to what is no address: {on_one_line(str(error)).lower()}") from error
    if why := fault_of_address(target):
        raise Lasting(f"the server redirects to what is no address: {why}")
    if urlsplit(target).scheme not in ("http", "https"):
        raise Lasting(f"the server redirects to {urlsplit(target).scheme}://, which is not read so")
    return target


_PHRASES = http.client.responses


def _check_range(reply: _Exchange, first: int, last: int, file_bytes: int) -> None:
    stated = reply.headers.get("content-range", "")
    matched = _CONTENT_RANGE.fullmatch(stated)
    if matched is None:
        raise Lasting(f"it answered 206 with the range {stated[:60]!r}, bytes {first}-{last} were asked for")
    begin, end, whole = map(int, matched.groups())
    if whole != file_bytes:
        raise Lasting(f"the file has {whole:,} bytes now, {file_bytes:,} were planned", 412)
    if (begin, end) != (first, last):
        raise Lasting(f"it sent bytes {begin}-{end}, bytes {first}-{last} were asked for")


def _check_version(reply: _Exchange, etag: str, modified: str) -> None:
    """`modified` is what a version is told by where the server gives no ETag."""
    since = reply.headers.get("last-modified", "")
    if modified and not etag and since != modified:
        raise Lasting(f"it was modified {since or 'at a time that is not said'}, {modified} was planned", 412)
    now = reply.headers.get("etag", "")
    if etag and now and now.removeprefix("W/") != etag.removeprefix("W/"):
        raise Lasting(f"its ETag is {now} now, {etag} was planned", 412)


def _check_body(reply: _Exchange, wanted_bytes: int) -> None:
    encoding = reply.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Lasting(f"it sent the range in the encoding {encoding[:20]!r}")
    length = reply.headers.get("content-length")
    if length is not None and length != str(wanted_bytes):
        raise Lasting(f"it announced {length} bytes for a range of {wanted_bytes}")


_lock = threading.Lock()
_idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}


def _sent(
    key: tuple[str, str], method: str, target: str, headers: Mapping[str, str]
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """The reply to a request, on a kept connection or on a new one. Servers close what is idle, so a kept connection
    that fails before it gives a reply is no failure of the server."""
    proxy = _proxy(*key)
    # A proxy wants the whole address, unless the connection goes through it unread.
    target = f"{key[0]}://{key[1]}{target}" if proxy and key[0] == "http" else target
    while (kept := _taken(key)) is not None:
        try:
            kept.request(method, target, headers=dict(headers))
            return kept, kept.getresponse()
        except (OSError, http.client.HTTPException):
            kept.close()
    connection = _connection(*key, proxy)
    try:
        connection.request(method, target, headers=dict(headers))
        reply = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Lasting(f"its certificate is not trusted: {error.verify_message}") from error
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
            raise Lasting("there is no server of this name, or no network") from error
        raise Passing(_failure(error)) from error
    return connection, reply


def _taken(key: tuple[str, str]) -> http.client.HTTPConnection | None:
    with _lock:
        kept = _idle.get(key)
        return kept.pop() if kept else None


def _keep(key: tuple[str, str], connection: http.client.HTTPConnection) -> None:
    with _lock:
        kept = _idle.setdefault(key, [])
        if len(kept) < _KEPT_CONNECTIONS:
            kept.append(connection)
            return
    connection.close()


def close_connections() -> None:
    """Close what is idle."""
    with _lock:
        connections = [connection for kept in _idle.values() for connection in kept]
        _idle.clear()
    for connection in connections:
        with suppress(OSError):
            connection.close()


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()


def _proxy(scheme: str, netloc: str) -> str:
    """The host of the proxy that the environment names for a server; "" without one."""
    proxy = urllib.request.getproxies().get(scheme, "")
    if not proxy or urllib.request.proxy_bypass(netloc.partition(":")[0]):
        return ""
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]


def _connection(scheme: str, netloc: str, proxy: str) -> http.client.HTTPConnection:
    """A connection that is not open yet."""
    if scheme == "http":
        return http.client.HTTPConnection(proxy or netloc, timeout=SILENCE_SECONDS)
    connection = http.client.HTTPSConnection(proxy or netloc, timeout=SILENCE_SECONDS, context=_trusted())
    if proxy:
        connection.set_tunnel(netloc)
    return connection


def _failure(error: Exception) -> str:
    """What went wrong on the way, without an address in it."""
    if isinstance(error, TimeoutError):
        return f"it sent nothing for {SILENCE_SECONDS:.0f} seconds"
    if isinstance(error, OSError) and error.strerror:
        return f"the connection failed: {error.strerror}"
    return f"the connection failed: {type(error).__name__}"
