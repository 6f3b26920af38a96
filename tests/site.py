"""A web site on the loopback: files with ranges, answers to POST, connections that break where a test says."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from hashlib import md5
from http.server import BaseHTTPRequestHandler

from tests.servers import answering

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


@dataclass
class Site:
    """What the site serves; the fields may be changed between requests.

    Attributes:
        files: by path, without the query.
        cuts: bytes after which the next connections for a path are closed, one entry a connection.
        statuses: answers to give instead of a file, one entry a connection.
        headers: sent beside every file.
        ranges: whether `Range` is honoured.
        lengths: whether `Content-Length` is sent.
        delay: seconds before every answer.
        post: answers POST requests, given path, headers and the parsed JSON body.
        log: method, path with query, and headers of every request so far.
        busiest: the largest number of GET requests that were open at one time.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    lengths: bool = True
    delay: float = 0.0
    post: Callable[[str, Message, dict[str, object]], Answer] | None = None
    log: list[tuple[str, str, Message]] = field(default_factory=list)
    busiest: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def asked(self, method: str = "GET") -> list[str]:
        """Paths asked for so far, without queries, in order."""
        return [path.partition("?")[0] for m, path, _ in self.log if m == method]


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    """Answers requests from what the site serves at that moment."""
    waiting: set[int] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.log.append(("GET", self.path, self.headers))
            waiting.add(threading.get_ident())
            site.busiest = max(site.busiest, len(waiting))
            time.sleep(site.delay)
            waiting.discard(threading.get_ident())
            path = self.path.partition("?")[0]
            if site.statuses.get(path):
                self._answer(site.statuses[path].pop(0), {}, b"an error page")
            elif path not in site.files:
                self._answer(404, {}, b"not found")
            else:
                self._file(path, site.files[path])

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            site.log.append(("POST", self.path, self.headers))
            time.sleep(site.delay)
            assert site.post is not None
            self._answer(*site.post(self.path, self.headers, json.loads(body)))

        def _file(self, path: str, data: bytes) -> None:
            """Sends a file, or its rest where `Range` asks for it and `If-Range` allows it; cut where the test says."""
            etag = f'"{md5(data).hexdigest()}"'
            fresh = self.headers["If-Range"] in (None, etag)
            found = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "") if site.ranges and fresh else None
            start = int(found[1]) if found else 0
            if found and start >= len(data):
                self._answer(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
                return
            headers = {"ETag": etag, "Accept-Ranges": "bytes", **site.headers}
            if found:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            cut = site.cuts[path].pop(0) if site.cuts.get(path) else None
            self._answer(206 if found else 200, headers, data[start:], cut)

        def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: int | None = None) -> None:
            """Sends an answer, of its body at most `cut` bytes."""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if site.lengths:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:cut])

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    return Handler


@contextmanager
def open_site() -> Iterator[Site]:
    """A running site, empty."""
    site = Site()
    with answering(_handler(site)) as site.port:
        yield site
