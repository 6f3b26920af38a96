"""Many small downloads: each whole or not at all, and an interrupted run goes on with what is missing."""

import errno
import os
import random
from pathlib import Path

import pytest

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.sources.download import download_many as bring
from tests.site import Site

PATIENT = Fetch(retries=3, timeout_seconds=5, connections=4)
RANDOM = random.Random(0)
FILES = {f"{n % 3}/{n:02}.jpg": RANDOM.randbytes(RANDOM.randrange(1, 40_000)) for n in range(30)}


@pytest.fixture(autouse=True)
def _files(site: Site) -> None:
    site.files = {f"/{name}": data for name, data in FILES.items()}


def wanted(site: Site) -> list[tuple[str, str]]:
    return [(name, f"{site.url}/{name}") for name in FILES]


def found(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_all_files_come_and_are_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    assert bring(wanted(site), tmp_path / "new", PATIENT) == {}
    assert found(tmp_path / "new") == FILES
    site.log.clear()
    (tmp_path / "new" / "0/00.jpg").unlink()
    assert bring(wanted(site), tmp_path / "new", PATIENT) == {}
    assert site.asked() == ["/0/00.jpg"]


@pytest.mark.parametrize("seed", range(5))
def test_wherever_connections_break_only_whole_files_are_there(seed: int, site: Site, tmp_path: Path) -> None:
    rng = random.Random(seed)
    for name in rng.sample(sorted(FILES), 15):
        site.cuts[f"/{name}"] = [rng.randrange(len(FILES[name])) for _ in range(PATIENT.retries)]
    assert bring(wanted(site), tmp_path, PATIENT) == {}
    assert found(tmp_path) == FILES


def test_a_file_that_breaks_off_for_ever_stops_everything_and_the_rest_is_kept(site: Site, tmp_path: Path) -> None:
    site.cuts["/2/29.jpg"] = [0] * 100
    with pytest.raises(DataError, match=r"/2/29\.jpg cannot be downloaded \(.*\): check the network .* are kept$"):
        bring(wanted(site), tmp_path, Fetch(retries=2, connections=1))
    assert found(tmp_path) == {name: data for name, data in FILES.items() if name != "2/29.jpg"}


def test_files_that_cannot_be_had_come_back_with_the_reason(site: Site, tmp_path: Path) -> None:
    del site.files["/0/03.jpg"]
    site.statuses = {"/0/00.jpg": [403], "/1/01.jpg": [410], "/2/02.jpg": [503, 429, 500]}
    files = [*wanted(site), ("odd.jpg", "photos/odd.jpg")]
    refused = bring(files, tmp_path, PATIENT)
    assert {name: reason[:23] for name, reason in refused.items()} == {
        "0/00.jpg": "the server answered 403",
        "0/03.jpg": "the server answered 404",
        "1/01.jpg": "the server answered 410",
        "odd.jpg": "Invalid URL 'photos/odd",
    }
    assert found(tmp_path) == {name: data for name, data in FILES.items() if name not in refused}


def test_a_file_of_unknown_length_is_refused_since_a_cut_one_would_pass(site: Site, tmp_path: Path) -> None:
    site.lengths = False
    refused = bring([("a.jpg", f"{site.url}/0/00.jpg")], tmp_path, PATIENT)
    assert "does not say how long" in refused["a.jpg"] and found(tmp_path) == {}


def test_a_file_above_the_limit_is_refused_before_it_comes(site: Site, tmp_path: Path) -> None:
    largest = max(FILES, key=lambda name: len(FILES[name]))
    refused = bring(wanted(site), tmp_path, Fetch(max_bytes=len(FILES[largest]) - 1))
    assert set(refused) == {largest} and "fetch.max_bytes" in refused[largest]


def test_what_a_killed_run_left_is_swept(site: Site, tmp_path: Path) -> None:
    left = tmp_path / ".podium-tmp-download" / "3"
    left.parent.mkdir()
    left.write_bytes(b"half a file")
    bring(wanted(site), tmp_path, PATIENT)
    assert found(tmp_path) == FILES


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "a/../../b.jpg", "", "a//b.jpg", "a/./b.jpg", "a\0.jpg"])
def test_a_name_that_leaves_the_folder_is_refused(name: str, site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must stay inside its folder"):
        bring([(name, f"{site.url}/0/00.jpg")], tmp_path, PATIENT)


def test_passwords_in_addresses_are_not_shown(site: Site, tmp_path: Path) -> None:
    site.statuses["/0/00.jpg"] = [503] * 10
    address = f"{site.url}/0/00.jpg".replace("://", "://me:secret@")
    with pytest.raises(DataError) as caught:
        bring([("a.jpg", address)], tmp_path, Fetch(retries=0))
    assert "secret" not in str(caught.value)


def test_a_full_disk_is_one_line(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match="no space left on the device"):
        bring(wanted(site), tmp_path, PATIENT)


def test_as_many_connections_as_asked_for(site: Site, tmp_path: Path) -> None:
    site.delay = 0.05
    bring(wanted(site)[:12], tmp_path, Fetch(connections=3))
    assert 1 < site.busiest <= 3
