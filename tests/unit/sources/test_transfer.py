"""Files behind any fsspec protocol: retried, whole or not at all, and kept over an interruption."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.sources.download import download, download_many


class NoCredentials(Exception):
    """What botocore and others raise is no OSError."""


class ShakyFileSystem(MemoryFileSystem):
    """Keeps files in memory; a read fails as often as `failures` says for its path."""

    protocol = "shaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failures: ClassVar[dict[str, int]] = {}
    reads: ClassVar[list[str]] = []
    strangers: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("shaky://", "memory://")))

    def cat_file(self, path: str, *arguments: Any, **keywords: Any) -> bytes:
        self.reads.append(path)
        if self.failures.get(path, 0) > 0:
            self.failures[path] -= 1
            raise ConnectionResetError("reset by peer")
        if path in self.strangers:
            raise NoCredentials("Unable to locate credentials\nsee the manual")
        data: bytes = super().cat_file(path, *arguments, **keywords)
        return data


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    fsspec.register_implementation("shaky", ShakyFileSystem, clobber=True)
    shaky = ShakyFileSystem()
    for i in range(5):
        shaky.pipe_file(f"/{i}.jpg", b"%d" % i)
    yield
    for left in (ShakyFileSystem.store, ShakyFileSystem.failures, ShakyFileSystem.reads, ShakyFileSystem.strangers):
        left.clear()


def wanted(*numbers: int) -> list[tuple[str, str]]:
    return [(f"a/{i}", f"shaky://{i}.jpg") for i in numbers]


def test_a_broken_connection_is_tried_again(tmp_path: Path) -> None:
    ShakyFileSystem.failures = {"/3.jpg": 2}
    assert download_many(wanted(*range(5)), tmp_path, Fetch(retries=2)) == {}
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {str(i): b"%d" % i for i in range(5)}


def test_a_file_that_is_not_there_is_named_and_the_others_come(tmp_path: Path) -> None:
    refused = download_many(wanted(1, 9), tmp_path, Fetch())
    assert list(refused) == ["a/9"] and refused["a/9"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["1"]


def test_a_connection_that_stays_down_ends_it_and_the_next_run_goes_on(tmp_path: Path) -> None:
    ShakyFileSystem.failures = {"/4.jpg": 1}
    one = Fetch(retries=0, connections=1)
    with pytest.raises(DataError, match=r"4\.jpg cannot be downloaded \(reset by peer\).*came so far are kept"):
        download_many(wanted(*range(5)), tmp_path, one)
    assert download_many(wanted(*range(5)), tmp_path, one) == {}
    assert ShakyFileSystem.reads == [f"/{i}.jpg" for i in (0, 1, 2, 3, 4, 4)]


def test_one_pinned_file_is_fetched_once_and_checked(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"2").hexdigest()
    for _ in range(2):
        assert download("shaky://2.jpg", digest, tmp_path, Fetch()).read_bytes() == b"2"
    assert ShakyFileSystem.reads == ["/2.jpg"]
    with pytest.raises(DataError, match="has sha256 .* asks for 000"):
        download("shaky://2.jpg", "0" * 64, tmp_path, Fetch())
    assert [p.name for p in tmp_path.glob("*/*")] == ["2.jpg"]


def test_an_error_of_the_library_behind_a_protocol_is_told_in_one_line(tmp_path: Path) -> None:
    ShakyFileSystem.strangers = ["/2.jpg"]
    said = r"shaky://2\.jpg cannot be read \(NoCredentials: Unable to locate credentials\): give the credentials where"
    with pytest.raises(DataError, match=said) as caught:
        download_many([("a", "shaky://2.jpg")], tmp_path, Fetch(retries=0))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=said):
        download("shaky://2.jpg", "0" * 64, tmp_path, Fetch(retries=0))


def test_a_library_that_cannot_even_be_set_up_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NoCredentials("no such profile")

    monkeypatch.setattr(ShakyFileSystem, "_get_kwargs_from_urls", refuse)
    with pytest.raises(DataError, match=r"shaky://2\.jpg cannot be opened \(NoCredentials: no such profile\)"):
        download("shaky://2.jpg?token=5ecret", "0" * 64, tmp_path, Fetch(retries=0))


def test_a_proxy_on_the_way_is_named_with_the_way_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        DataError, match=r"asked through the proxy http://127\.0\.0\.1:9; put 127\.0\.0\.1 into NO_PROXY"
    ):
        download("http://127.0.0.1:8/x.zip", "0" * 64, tmp_path, Fetch(retries=0))
