"""Kaggle through its real client, against a server with Kaggle's three routes on the loopback."""

import base64
import hashlib
import io
import json
import os
import random
import socket
import sys
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from podium.config.dataset import Fetch, KaggleDataset, MergeDataset
from podium.core.errors import DataError, NotPinned
from podium.core.layout import Layout
from podium.pipeline.fetch import fetch_dataset
from podium.sources.kaggle import open_kaggle
from podium.sources.source import Listing
from tests.site import Answer, Site, open_site

PATIENT = Fetch(retries=3, timeout_seconds=5)
SERVICE = "/v1/datasets.DatasetApiService/"
BLOB = "/bucket/archive.zip"
SIGNATURE = "X-Goog-Signature=5ecre7"


def pack(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


BYTES = random.Random(1)
GOOD = {
    "Vegetable Images/train/Bean/0001.jpg": BYTES.randbytes(30_000),
    "Vegetable Images/train/Carrot/0002.jpg": BYTES.randbytes(40_000),
    "Vegetable Images/test/Bean/0003.jpg": BYTES.randbytes(20_000),
    "Vegetable Images/test/Carrot/0004.jpg": BYTES.randbytes(10_000),
    "notebook/plot.png": b"not a picture of a vegetable",
}
ZIP = pack(GOOD)
SHA256 = hashlib.sha256(ZIP).hexdigest()


class Kaggle:
    """GetDataset, DownloadDataset and the archive behind it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.version = 3
        self.busy = 0
        self.needs: str | None = None  # what Authorization must start with
        self.store = site  # where the archive lies
        site.post = self.answer
        self.serve(ZIP)

    def serve(self, data: bytes) -> None:
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        self.site.files[BLOB] = data
        self.site.headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"}

    def answer(self, path: str, headers: Message, body: dict[str, object]) -> Answer:
        if self.busy:
            self.busy -= 1
            return 503, {}, b"busy"
        if self.needs is not None and not headers.get("Authorization", "").startswith(self.needs):
            return 403, {"Content-Type": "application/json"}, b'{"code":403,"message":"Permission denied"}'
        if body["ownerSlug"] != "misrakahmed" or body["datasetSlug"] != "vegetables":
            return 404, {"Content-Type": "application/json"}, b'{"code":404,"message":"Not found"}'
        if path == SERVICE + "GetDataset":
            found = f'{{"ref":"misrakahmed/vegetables","currentVersionNumber":{self.version}}}'
            return 200, {"Content-Type": "application/json"}, found.encode()
        assert path == SERVICE + "DownloadDataset"
        if body["datasetVersionNumber"] not in (3, self.version):
            return 404, {"Content-Type": "application/json"}, b'{"code":404,"message":"Not found"}'
        return 302, {"Location": f"{self.store.url}{BLOB}?{SIGNATURE}{len(self.site.log)}"}, b""


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kaggle]:
    """A fake Kaggle in the place of the real one, and a home without credentials."""
    from kagglesdk import kaggle_env

    for name in list(os.environ):
        if name.startswith("KAGGLE"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with open_site() as site:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, site.url)
        yield Kaggle(site)
    assert list(home.rglob("*")) == []  # nothing is written into somebody's home


def dataset(location: str = "misrakahmed/vegetables/versions/3", **more: object) -> KaggleDataset:
    return KaggleDataset.model_validate(
        {"location": location, "licence": "CC0-1.0", "inside": "Vegetable Images", **more}
    )


def listing(downloads: Path, asked: KaggleDataset, fetch: Fetch = PATIENT) -> Listing:
    source = open_kaggle(Layout(downloads), asked, fetch)
    for image in source.listing.images:
        assert source.read(image.path) == GOOD[f"{asked.inside}/{image.path}"]
    return source.listing


def refusal(downloads: Path, asked: KaggleDataset, fetch: Fetch = PATIENT) -> str:
    with pytest.raises(DataError) as caught:
        listing(downloads, asked, fetch)
    message = str(caught.value)
    assert "\n" not in message and SIGNATURE not in message
    return message


def test_a_pinned_version_is_downloaded_and_unpacked_once(kaggle: Kaggle, tmp_path: Path) -> None:
    found = listing(tmp_path / "downloads", dataset())
    assert (found.name, found.sha256) == ("misrakahmed_vegetables", SHA256)
    assert [(i.path, i.label, i.split) for i in found.images] == [
        ("test/Bean/0003.jpg", "Bean", "test"),
        ("test/Carrot/0004.jpg", "Carrot", "test"),
        ("train/Bean/0001.jpg", "Bean", "train"),
        ("train/Carrot/0002.jpg", "Carrot", "train"),
    ]
    requests = len(kaggle.site.log)
    assert listing(tmp_path / "downloads", dataset()) == found
    assert len(kaggle.site.log) == requests


def test_the_whole_archive_is_used_without_inside(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.serve(pack({"a/1.jpg": b"1", "b/2.jpg": b"2"}))
    source = open_kaggle(Layout(tmp_path), dataset(inside=None), PATIENT)
    assert [i.label for i in source.listing.images] == ["a", "b"]
    assert source.read("b/2.jpg") == b"2"


@pytest.mark.parametrize("seed", range(12))
def test_wherever_the_download_is_cut_it_goes_on_there(seed: int, kaggle: Kaggle, tmp_path: Path) -> None:
    cuts = sorted(random.Random(seed).sample(range(len(ZIP)), 2))
    kaggle.site.cuts[BLOB] = [0, cuts[0], 0, cuts[1] - cuts[0]]  # the first answer is only asked for its address
    assert listing(tmp_path, dataset()).sha256 == SHA256
    ranges = [headers["Range"] for m, path, headers in kaggle.site.log if m == "GET" and headers["Accept-Encoding"]]
    assert {r for r in ranges if r} == {f"bytes={cut}-" for cut in cuts if cut}


def test_a_later_run_goes_on_where_a_killed_one_stopped(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.site.cuts[BLOB] = [0, 50_000, 0, 0]
    assert "the 50,000 bytes so far are kept" in refusal(tmp_path, dataset(), Fetch(retries=0))
    kaggle.site.log.clear()
    listing(tmp_path, dataset())
    assert [h["Range"] for m, _, h in kaggle.site.log if h["Range"]] == ["bytes=50000-"]


def test_no_trace_of_credentials_or_signatures_is_left(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_5ecre7")
    kaggle.site.cuts[BLOB] = [0, 50_000, 0, 0]
    refusal(tmp_path, dataset(), Fetch(retries=0))
    halfway = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    listing(tmp_path, dataset())
    written = halfway + b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    printed = capsys.readouterr()
    assert b"5ecre7" not in written
    assert "5ecre7" not in printed.out + printed.err


def test_the_token_goes_to_kaggle_and_not_to_the_storage_behind_it(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_5ecre7")
    with open_site() as storage:
        storage.files[BLOB] = ZIP
        kaggle.store = storage
        listing(tmp_path, dataset())
        assert [headers["Authorization"] for _, _, headers in storage.log] == [None] * len(storage.log) != []
    assert kaggle.site.log[0][2]["Authorization"] == "Bearer KGAT_5ecre7"


def test_sources_json_says_where_it_came_from_and_nothing_secret(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_5ecre7")
    layout = Layout(tmp_path / "project")
    fetch_dataset(layout, dataset(), PATIENT, {})
    text = (layout.raw / "sources.json").read_text()
    (source,) = json.loads(text)["sources"]
    assert (source["kind"], source["location"], source["sha256"]) == (
        "kaggle",
        "misrakahmed/vegetables/versions/3",
        SHA256,
    )
    assert "5ecre7" not in text and str(tmp_path) not in text


CREDENTIALS = {
    "token": ({"KAGGLE_API_TOKEN": "KGAT_abc"}, "Bearer KGAT_abc"),
    "name and key": (
        {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "k3y"},
        "Basic " + base64.b64encode(b"me:k3y").decode(),
    ),
}


@pytest.mark.parametrize(("variables", "sent"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_credentials_of_the_environment_are_used(
    variables: dict[str, str], sent: str, kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    kaggle.needs = sent
    assert listing(tmp_path, dataset()).sha256 == SHA256


def test_a_private_dataset_without_credentials_says_what_to_set(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.needs = "Bearer"
    said = refusal(tmp_path, dataset())
    assert "KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY" in said
    assert "accept the dataset's terms at https://www.kaggle.com/datasets/misrakahmed/vegetables" in said
    assert kaggle.site.asked("POST") == [SERVICE + "DownloadDataset"]  # a refusal is not retried


def test_a_refused_token_is_not_quoted(kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_old")
    kaggle.site.post = lambda *_: (401, {"Content-Type": "application/json"}, b'{"code":401,"message":"KGAT_old"}')
    said = refusal(tmp_path, dataset())
    assert said.startswith("Kaggle refuses the credentials (401): set KAGGLE_API_TOKEN") and "KGAT_old" not in said


def test_a_token_with_a_line_break_is_not_quoted(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_new\nline")
    assert "KGAT" not in refusal(tmp_path, dataset())


def test_a_broken_kaggle_json_is_named(kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "kaggle.json").write_text('{"username": "me", "key": "k3y"')
    said = refusal(tmp_path, dataset())
    assert f"{tmp_path}/kaggle.json: repair it, or set KAGGLE_API_TOKEN" in said and "k3y" not in said


@pytest.mark.parametrize("location", ["misrakahmed/fruits/versions/3", "misrakahmed/vegetables/versions/9"])
def test_an_unknown_dataset_or_version_is_named(location: str, kaggle: Kaggle, tmp_path: Path) -> None:
    assert refusal(tmp_path, dataset(location)) == (
        f"kaggle:{location} does not exist (404): compare dataset.location with its page on kaggle.com"
    )


def test_without_a_pin_the_message_holds_the_lines_to_add(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.version = 7
    said = refusal(tmp_path, dataset("misrakahmed/vegetables"))
    assert f"write `location: misrakahmed/vegetables/versions/7` and `sha256: {SHA256}`" in said
    kaggle.site.log.clear()
    listing(tmp_path, dataset("misrakahmed/vegetables/versions/7", sha256=SHA256))
    assert kaggle.site.log == []  # it was kept


def test_a_merge_names_all_its_parts_that_are_not_pinned_at_once(kaggle: Kaggle, tmp_path: Path) -> None:
    open_end = dataset("misrakahmed/vegetables")
    parts = [open_end.model_copy(update={"name": name}) for name in ("first", "second")]
    with pytest.raises(NotPinned) as refused:
        fetch_dataset(Layout(tmp_path / "project"), MergeDataset(parts=parts), PATIENT, {})
    assert str(refused.value).count(f"sha256: {SHA256}") == 2
    assert "part 'first'" in str(refused.value) and "part 'second'" in str(refused.value)


def test_a_digest_alone_pins_too(kaggle: Kaggle, tmp_path: Path) -> None:
    asked = dataset("misrakahmed/vegetables", sha256=SHA256)
    assert listing(tmp_path, asked).sha256 == SHA256
    kaggle.version = 8
    kaggle.serve(pack({"new/1.jpg": b""}))
    assert listing(tmp_path, asked).sha256 == SHA256  # the right bytes are there, whatever Kaggle has now
    assert "sha256" in refusal(tmp_path / "elsewhere", asked)


def test_other_bytes_under_a_pinned_version_are_refused(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.serve(ZIP + b"more")
    assert f"but dataset.sha256 asks for {SHA256}" in refusal(tmp_path, dataset(sha256=SHA256))


def test_bytes_damaged_on_the_way_are_found_without_a_digest(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.site.files[BLOB] = ZIP[:-1] + b"?"  # the headers still state the MD5 of the right file
    assert "damaged on its way" in refusal(tmp_path, dataset())
    assert not list(tmp_path.rglob("*.zip"))


def test_a_busy_server_is_asked_again(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.busy = 3
    listing(tmp_path, dataset())
    kaggle.busy = 100
    assert "503" in refusal(tmp_path / "new", dataset())
    assert "503" in refusal(tmp_path / "new", dataset("misrakahmed/vegetables"))


def test_a_silent_server_does_not_hold_the_stage(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.site.delay = 0.5
    said = refusal(tmp_path, dataset(), Fetch(retries=0, timeout_seconds=0.1))
    assert "Read timed out" in said or "timed out" in said


def test_no_network_is_one_line(kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kagglesdk import kaggle_env

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, f"http://127.0.0.1:{port}")
    assert "Connection refused" in refusal(tmp_path, dataset(), Fetch(retries=0))
    assert "check the network" in refusal(tmp_path, dataset("misrakahmed/vegetables"), Fetch(retries=0))


def test_a_login_page_in_between_is_no_answer(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.site.post = lambda *_: (200, {"Content-Type": "text/html"}, b"<html>please log in</html>")
    assert "no address" in refusal(tmp_path, dataset())
    assert "not one of Kaggle's" in refusal(tmp_path, dataset("misrakahmed/vegetables"))


POISONED = {
    # kagglehub's own extractall would write the first outside its folder under an older Python, and rename it silently
    "climbs out": ({**GOOD, "../../evil.jpg": b"x"}, "climbs out"),
    "absolute": ({**GOOD, "/etc/cron.d/evil": b"x"}, "has an absolute path"),
    "same name twice": ({**GOOD, "Vegetable Images/./train/Bean/0001.jpg": b"x"}, "have the same name"),
}


@pytest.mark.parametrize(("members", "said"), POISONED.values(), ids=POISONED)
def test_a_poisoned_archive_is_refused(members: dict[str, bytes], said: str, kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.serve(pack(members))
    assert said in refusal(tmp_path / "downloads", dataset())
    assert not list(tmp_path.rglob("*evil*"))


def test_limits_of_archives_hold(kaggle: Kaggle, tmp_path: Path) -> None:
    assert "fetch.max_files" in refusal(tmp_path, dataset(), Fetch(max_files=3))
    assert "fetch.max_bytes" in refusal(tmp_path, dataset(), Fetch(max_bytes=90_000))


def test_a_folder_that_is_not_there_is_named_with_those_that_are(kaggle: Kaggle, tmp_path: Path) -> None:
    said = refusal(tmp_path, dataset(inside="Vegetables"))
    assert "no files below 'Vegetables' (dataset.inside)" in said and "Vegetable Images/test/Bean" in said


def test_without_the_extra_the_message_names_it(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub.clients", None)
    assert refusal(tmp_path, dataset()) == "source `kaggle` needs kagglehub: pip install 'podium[kaggle]'"


def test_an_environment_that_prints_tokens_is_refused(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    assert refusal(tmp_path, dataset()) == "KAGGLE_API_ENVIRONMENT is for Kaggle's developers: unset it"


@pytest.mark.parametrize(
    "location", ["vegetables", "../vegetables", "a/b/versions/0", "a/b/c", "https://kaggle.com/a/b"]
)
def test_a_location_that_names_no_dataset_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="owner/dataset/versions/N"):
        dataset(location)
