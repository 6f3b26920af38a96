"""A download that breaks goes on where it stopped, and only the right bytes get the final name."""

import base64
import errno
import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.sources.download import download as get
from podium.sources.download import download_to
from podium.sources.locations import Remote, without_secrets
from tests.unit.sources.conftest import FileServer

DATA = Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PATIENT, ONE_TRY = Fetch(retries=3, timeout_seconds=5), Fetch(retries=0, timeout_seconds=5)


@pytest.fixture(autouse=True)
def _file(file_server: FileServer) -> None:
    file_server.data = DATA


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def break_off(server: FileServer, folder: Path, at: int) -> None:
    """Leaves `at` bytes behind, as a killed process would."""
    server.cuts = [at, 0]  # an attempt that brings bytes is not counted, the next one is
    with pytest.raises(DataError, match=f"the {at:,} bytes so far are kept, run the stage again to go on"):
        get(server.url, SHA256, folder, ONE_TRY)
    server.requests.clear()


def test_a_file_is_downloaded_once(file_server: FileServer, tmp_path: Path) -> None:
    path = get(file_server.url, SHA256, tmp_path / "new", PATIENT)
    assert path.read_bytes() == DATA
    assert names(tmp_path / "new") == [f"{SHA256[:16]}/my_photos.zip"]
    assert get(file_server.url, SHA256, tmp_path / "new", PATIENT) == path
    assert file_server.requests == [(None, None)]


def test_experiments_side_by_side_download_once(file_server: FileServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(get, file_server.url, SHA256, tmp_path, PATIENT) for _ in range(3)]
        assert {job.result().read_bytes() for job in jobs} == {DATA}
    assert len(file_server.requests) == 1


def test_a_damaged_earlier_download_is_not_reused(file_server: FileServer, tmp_path: Path) -> None:
    path = get(file_server.url, SHA256, tmp_path, PATIENT)
    path.write_bytes(DATA[:-1])
    assert get(file_server.url, SHA256, tmp_path, PATIENT).read_bytes() == DATA


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, len(DATA)), min_size=1, max_size=3))
def test_wherever_connections_break_the_bytes_are_the_same(
    cuts: list[int], file_server: FileServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file_server.cuts = list(cuts)
    folder = tmp_path_factory.mktemp("downloads")
    assert get(file_server.url, SHA256, folder, PATIENT).read_bytes() == DATA
    assert len(names(folder)) == 1
    assert file_server.requests[0][0] is None


def test_only_what_is_missing_is_asked_for_by_the_next_run(file_server: FileServer, tmp_path: Path) -> None:
    break_off(file_server, tmp_path, 123_457)
    assert get(file_server.url, SHA256, tmp_path, PATIENT).read_bytes() == DATA
    assert file_server.requests == [("bytes=123457-", '"v1"')]


# What the server can do to the second half of a download, and how many requests it then takes.
SECOND_HALVES = {
    # The file changed: If-Range makes it one whole answer instead of a mixture.
    "another etag": ({"etag": '"v2"'}, 1),
    # A weak validator may not be used with ranges; the digest still guards.
    "no validators": ({"etag": None}, 1),
    "no ranges": ({"ranges": False}, 1),
    # Bytes of another place would be appended: the part is thrown away.
    "another range than asked for": ({"shift": 7}, 2),
    "busy for a while": ({"statuses": [503, 429]}, 3),
}


@pytest.mark.parametrize(("change", "count"), SECOND_HALVES.values(), ids=SECOND_HALVES)
def test_whatever_the_server_does_in_between_the_bytes_are_right(
    change: dict[str, object], count: int, file_server: FileServer, tmp_path: Path
) -> None:
    break_off(file_server, tmp_path, 100_000)
    for name, value in change.items():
        setattr(file_server, name, value)
    assert get(file_server.url, SHA256, tmp_path, PATIENT).read_bytes() == DATA
    assert len(file_server.requests) == count
    assert len(names(tmp_path)) == 1


def test_a_file_that_changed_meanwhile_starts_over(file_server: FileServer, tmp_path: Path) -> None:
    old = bytes(len(DATA))
    file_server.data = old
    break_off(file_server, tmp_path, 100_000)
    file_server.data, file_server.etag = DATA, '"v2"'
    assert get(file_server.url, SHA256, tmp_path, PATIENT).read_bytes() == DATA
    assert file_server.requests == [("bytes=100000-", '"v1"')]


def test_a_weak_etag_gives_way_to_the_date(file_server: FileServer, tmp_path: Path) -> None:
    file_server.etag, file_server.last_modified = 'W/"v1"', "Sun, 01 Mar 2026 00:00:00 GMT"
    break_off(file_server, tmp_path, 100_000)
    get(file_server.url, SHA256, tmp_path, PATIENT)
    assert file_server.requests == [("bytes=100000-", "Sun, 01 Mar 2026 00:00:00 GMT")]


@pytest.mark.parametrize(("left", "count"), [(DATA, 1), (DATA + b"more", 2), (bytes(len(DATA)), 2)])
def test_a_part_as_long_as_the_file_is_judged_by_its_digest(
    left: bytes, count: int, file_server: FileServer, tmp_path: Path
) -> None:
    break_off(file_server, tmp_path, 1_000)
    (part,) = tmp_path.glob("*/*.part")
    part.write_bytes(left)
    assert get(file_server.url, SHA256, tmp_path, PATIENT).read_bytes() == DATA
    assert len(file_server.requests) == count


def test_a_part_belongs_to_one_address_also_where_two_differ_in_the_query_only(
    file_server: FileServer, tmp_path: Path
) -> None:
    break_off(file_server, tmp_path, 1_000)  # the notes of another address with a query
    other = file_server.url.replace("?", "?token=5ecret&")
    file_server.cuts = [2_000, 0]
    with pytest.raises(DataError) as caught:
        get(other, SHA256, tmp_path, ONE_TRY)
    (notes,) = tmp_path.glob("*/*.part.json")
    assert "5ecret" not in str(caught.value) + notes.read_text()
    assert [asked for asked, _ in file_server.requests[-2:]] == [None, "bytes=2000-"]
    file_server.cuts = []
    assert get(other, SHA256, tmp_path, PATIENT).read_bytes() == DATA
    assert file_server.requests[-1] == ("bytes=2000-", '"v1"')


def test_damaged_notes_beside_a_part_start_it_over(file_server: FileServer, tmp_path: Path) -> None:
    break_off(file_server, tmp_path, 1_000)
    (notes,) = tmp_path.glob("*/*.part.json")
    notes.write_text("{")
    assert get(file_server.url, SHA256, tmp_path, PATIENT).read_bytes() == DATA
    assert file_server.requests == [(None, None)]


def test_wrong_bytes_are_deleted_and_both_digests_shown(file_server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{SHA256}.*{'0' * 64}.*deleted"):
        get(file_server.url, "0" * 64, tmp_path, PATIENT)
    assert names(tmp_path) == []


def test_a_connection_that_brings_nothing_is_given_up_after_the_retries(
    file_server: FileServer, tmp_path: Path
) -> None:
    file_server.cuts = [0] * 10
    with pytest.raises(DataError, match="cannot be downloaded.*check the network"):
        get(file_server.url, SHA256, tmp_path, PATIENT)
    assert len(file_server.requests) == 1 + PATIENT.retries


def test_a_connection_that_breaks_often_but_advances_is_not_given_up(file_server: FileServer, tmp_path: Path) -> None:
    file_server.cuts = [10_000] * 20
    assert get(file_server.url, SHA256, tmp_path, Fetch(retries=1)).read_bytes() == DATA


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_names_address_and_remedy(status: int, file_server: FileServer, tmp_path: Path) -> None:
    file_server.statuses = [status]
    with pytest.raises(
        DataError,
        match=rf"my%20photos\.zip .*the server answered {status} .*correct dataset.location",
    ):
        get(file_server.url, SHA256, tmp_path, PATIENT)
    assert len(file_server.requests) == 1


def test_nobody_listening_is_one_line_without_the_password(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError) as caught:
        get(f"http://me:secret@127.0.0.1:{port}/a.zip", SHA256, tmp_path, ONE_TRY)
    assert f"http://127.0.0.1:{port}/a.zip cannot be downloaded (Connection refused)" in str(caught.value)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_host_without_an_address_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_host(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    with pytest.raises(DataError, match="Name or service not known.*check the network and dataset.location"):
        get("https://nowhere.invalid/a.zip", SHA256, tmp_path, ONE_TRY)


def test_a_full_disk_is_one_line(file_server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("podium.sources.transfer.HttpTransfer._write", full)
    with pytest.raises(DataError, match="no space left on the device while writing .*my_photos.zip.part.*goes on"):
        get(file_server.url, SHA256, tmp_path, PATIENT)


def test_an_address_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a valid address .*: correct it"):
        get("http://[::1/a.zip", SHA256, tmp_path, PATIENT)


def test_secrets_are_cut_out_of_addresses_only() -> None:
    assert without_secrets("https://me:pw@host.org:8443/a?b=c") == "https://host.org:8443/a"
    assert without_secrets("https://host.org/a?token=5ecret#key=5ecret") == "https://host.org/a"
    assert without_secrets("s3://bucket/a?token=5ecret") == "s3://bucket/a"
    assert without_secrets("data/me@home.zip") == "data/me@home.zip"


def test_a_pipe_sees_plain_lines(
    file_server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podium.console.progress.LINE_SECONDS", 0.0)
    monkeypatch.setattr("podium.console.progress.LINE_SHARE", 0.0)
    get(file_server.url, SHA256, tmp_path, PATIENT)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "download: 300.0 kB of 300.0 kB (100%)"
    assert "\x1b" not in "".join(lines)


# --- files nobody has a digest of ----------------------------------------------------------------------------------


def get_unpinned(server: FileServer, folder: Path, fetch: Fetch = PATIENT) -> bytes:
    target = folder / "tables" / "boxes.csv"
    download_to(target, Remote("boxes.csv", lambda: server.url), None, fetch)
    return target.read_bytes()


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, len(DATA)), min_size=1, max_size=3))
def test_without_a_digest_a_cut_file_is_never_taken_for_whole(
    cuts: list[int], file_server: FileServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file_server.cuts = list(cuts)
    folder = tmp_path_factory.mktemp("downloads")
    assert get_unpinned(file_server, folder) == DATA
    assert names(folder) == ["tables/boxes.csv"]
    file_server.requests.clear()
    assert get_unpinned(file_server, folder) == DATA
    assert file_server.requests == []


def test_without_a_digest_the_next_run_goes_on_where_a_killed_one_stopped(
    file_server: FileServer, tmp_path: Path
) -> None:
    file_server.cuts = [70_001, 0]
    with pytest.raises(DataError, match="boxes.csv cannot be downloaded .*the 70,001 bytes so far are kept"):
        get_unpinned(file_server, tmp_path, ONE_TRY)
    file_server.requests.clear()
    assert get_unpinned(file_server, tmp_path) == DATA
    assert file_server.requests == [("bytes=70001-", '"v1"')]


@pytest.mark.parametrize(("left", "count"), [(DATA, 1), (DATA + b"more", 2)])
def test_without_a_digest_a_part_as_long_as_the_file_is_judged_by_the_length_the_server_says(
    left: bytes, count: int, file_server: FileServer, tmp_path: Path
) -> None:
    file_server.cuts = [1_000, 0]
    with pytest.raises(DataError):
        get_unpinned(file_server, tmp_path, ONE_TRY)
    file_server.requests.clear()
    (part,) = tmp_path.rglob("*.part")
    part.write_bytes(left)
    assert get_unpinned(file_server, tmp_path) == DATA
    assert len(file_server.requests) == count


def test_without_a_digest_and_a_length_a_file_is_refused(file_server: FileServer, tmp_path: Path) -> None:
    file_server.lengths = False
    with pytest.raises(DataError, match="does not say how long the file is, so a cut one would pass for whole"):
        get_unpinned(file_server, tmp_path)
    assert get(file_server.url, SHA256, tmp_path, PATIENT).read_bytes() == DATA  # a digest is enough


MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
STATED = {
    "right": ({"x-goog-hash": f"crc32c=AAAAAA==,md5={MD5}"}, True),
    "wrong": ({"x-goog-hash": f"md5={MD5[::-1].strip('=').rjust(22, 'A')}=="}, False),
    # Google unpacks a file that is stored packed, and still says the MD5 of the packed one.
    "of a packed file": ({"x-goog-hash": "md5=" + "A" * 22 + "==", "x-goog-stored-content-encoding": "gzip"}, True),
}


@pytest.mark.parametrize(("headers", "accepted"), STATED.values(), ids=STATED)
def test_the_md5_that_googles_storage_states_is_checked(
    headers: dict[str, str], accepted: bool, file_server: FileServer, tmp_path: Path
) -> None:
    file_server.headers = headers
    if accepted:
        assert get_unpinned(file_server, tmp_path) == DATA
        return
    with pytest.raises(DataError, match="boxes.csv was damaged on its way .*run the stage again"):
        get_unpinned(file_server, tmp_path)
    assert names(tmp_path) == []


def test_an_address_that_expires_is_asked_for_again(file_server: FileServer, tmp_path: Path) -> None:
    addresses = [f"{file_server.url}&signature=5ecre7-{number}" for number in range(3)]
    file_server.cuts = [10, 20]
    remote = Remote("kaggle:me/photos", lambda: addresses.pop(0))
    download_to(tmp_path / "a" / "photos.zip", remote, SHA256, PATIENT)
    assert addresses == [] and file_server.requests[1:] == [("bytes=10-", '"v1"'), ("bytes=30-", '"v1"')]
