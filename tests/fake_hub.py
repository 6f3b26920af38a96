"""A server on the loopback that answers the Hugging Face hub's client as the hub does, and can misbehave."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.servers import answering

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TAG = "test_resnet.r160_in1k"
"""The smallest network that timm publishes."""
HUB_FILE = f"timm/{TAG}/model.safetensors"


def digest(data: bytes) -> str:
    """What pins a file."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class FakeHub:
    """What the hub holds; the fields may be changed between requests.

    Attributes:
        files: `owner/name/file` to bytes.
        sent: bytes sent in place of those the hub states size and digest of.
        cuts: bytes after which the next answers to GET end, one entry a connection.
        statuses: answers to give instead, one a connection.
        requests: method, path and `Range` of every request so far.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    sent: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens: `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.port}"


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    """Answers requests from what the hub holds at that moment."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            """A file, or a refusal in the hub's own words."""
            if self.path.startswith("/api/"):  # what the client asks for itself, in some environments and once
                self._error(404, None)
                return
            hub.requests.append((self.command, self.path, self.headers["Range"]))
            found = re.fullmatch(r"/([\w.\-]+/[\w.\-]+)/resolve/main/(.+)", self.path)
            if hub.statuses:
                self._error(hub.statuses.pop(0), None)
            elif found is None or not any(name.startswith(found[1] + "/") for name in hub.files):
                self._error(404, "RepoNotFound")
            elif f"{found[1]}/{found[2]}" not in hub.files:
                self._error(404, "EntryNotFound")
            else:
                self._file(f"{found[1]}/{found[2]}", body)

        def _file(self, name: str, body: bool) -> None:
            """Sends a file or, where a range is asked for, its rest; cut where the test says."""
            held = hub.files[name]
            data = hub.sent.get(name, held)
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            start = int(asked[1]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{digest(held)}"')
            self.send_header("Content-Length", str(len(held) - start))
            self.end_headers()
            if body:
                cut = hub.cuts.pop(0) if hub.cuts else None
                self.wfile.write(data[start:][:cut])
                self.close_connection = cut is not None or len(data) < len(held)

        def _error(self, status: int, code: str | None) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    return Handler


@contextmanager
def open_hub() -> Iterator[FakeHub]:
    """A running hub that holds nothing yet."""
    hub = FakeHub()
    with answering(_handler(hub)) as hub.port:
        yield hub
