"""A real HTTP server on the loopback: ranges, validators, and connections that break where a test says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest

from tests.servers import answering


@dataclass
class FileServer:
    """Serves one file; the fields may be changed between requests.

    Attributes:
        data: the file.
        etag, last_modified: validators sent; None for none.
        cuts: bytes after which the next connections are closed, one entry a connection.
        statuses: answers to give instead of the file, one a connection.
        ranges: whether `Range` is honoured.
        lengths: whether `Content-Length` is sent.
        headers: sent beside the others.
        shift: added to the start of every range sent, as a broken proxy would.
        requests: `Range` and `If-Range` of every request so far.
    """

    data: bytes = b""
    etag: str | None = '"v1"'
    last_modified: str | None = None
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    lengths: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    shift: int = 0
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/files/my%20photos.zip?version=1"


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted, if_range = self.headers["Range"], self.headers["If-Range"]
            server.requests.append((wanted, if_range))
            assert self.headers["Accept-Encoding"] == "identity"
            if server.statuses:
                self.send_error(server.statuses.pop(0))
                return
            fresh = if_range is None or if_range in (server.etag, server.last_modified)
            found = re.fullmatch(r"bytes=(\d+)-", wanted or "") if server.ranges and fresh else None
            start = int(found[1]) if found else 0
            if found and start >= len(server.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(start, partial=found is not None)

        def _send(self, start: int, partial: bool) -> None:
            start = start + server.shift if partial else start
            body, total = server.data[start:], len(server.data)
            self.send_response(206 if partial else 200)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if server.lengths:
                self.send_header("Content-Length", str(len(body)))
            validators = {"ETag": server.etag, "Last-Modified": server.last_modified}
            for name, value in (validators | server.headers).items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    return Handler


@pytest.fixture(scope="session")
def _running_server() -> Iterator[FileServer]:
    server = FileServer()
    with answering(_handler(server)) as server.port:
        yield server


@pytest.fixture
def file_server(_running_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """The server in its first state."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    _running_server.__dict__.update(FileServer(port=_running_server.port).__dict__)
    return _running_server


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr("podium.sources.transfer.FIRST_PAUSE", 0.0)
