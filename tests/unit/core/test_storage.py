"""What machines exchange by a storage has its digest, is whole or not there, and takes no more disk than it may."""

import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podium.core.errors import DataError
from podium.core.storage import Checkout, Storage
from tests.servers import s3

GIB = 2**30


@pytest.fixture(scope="module")
def bucket():
    """The address of a bucket, and what leads to it in the environment."""
    import s3fs

    with s3("exchange") as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in (*variables.items(), ("AWS_ENDPOINT_URL", variables["MLFLOW_S3_ENDPOINT_URL"])):
            patch.setenv(name, value)
        yield "s3://exchange/podium"
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def project(tmp_path):
    for name, data in {"a/one.bin": b"one", "a/b/two.bin": b"two" * 1000, "a/__pycache__/x.pyc": b"no"}.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "project"


def shared(tmp_path: Path, gib: float = 1.0) -> Storage:
    return Storage((tmp_path / "shared").as_uri(), gib)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kept(cache: Path) -> dict[str, bytes]:
    return contents(cache / "sha256")


def test_a_bucket_gives_another_machine_the_same_files(bucket, project):
    storage = Storage(bucket, 1.0)
    files = storage.upload([project / "a"], project)
    assert [file.name for file in files] == ["a/b/two.bin", "a/one.bin"]
    assert contents(Checkout(storage, files).root) == {"a/one.bin": b"one", "a/b/two.bin": b"two" * 1000}
    with storage.open(files[0]) as stream:
        stream.seek(2999)
        assert stream.read() == b"o"


@pytest.mark.parametrize("place", ["bucket", "folder"])
def test_a_file_is_uploaded_once(place, bucket, project, tmp_path, monkeypatch):
    storage = Storage(f"{bucket}-once", 1.0) if place == "bucket" else shared(tmp_path)
    once = storage.upload([project], project)
    filesystem, _ = storage._find(once[0])
    monkeypatch.setattr(type(filesystem), "put_file", None)
    monkeypatch.setattr("podium.core.storage.replacing", None)
    assert storage.upload([project], project) == once


def test_an_upload_that_was_cut_off_is_done_again(project, tmp_path):
    storage = shared(tmp_path)
    (file,) = storage.upload([project / "a/one.bin"], project)
    (tmp_path / "shared" / file.key).write_bytes(b"o")
    storage.upload([project / "a/one.bin"], project)
    assert (tmp_path / "shared" / file.key).read_bytes() == b"one"


@pytest.mark.parametrize(
    "url, said",
    [
        ("s3://nowhere/podium", r"cannot be written to \(FileNotFoundError: "),
        ("nothing://x", r"cannot be written to \(ValueError: Protocol not known: nothing"),
        ("file:///dev/null/x", r"cannot be written to \(NotADirectoryError: "),
    ],
)
def test_a_storage_that_is_not_there_is_one_line(url, said, bucket, project):
    with pytest.raises(DataError, match=f"^resources.storage {url} {said}") as caught:
        Storage(url, 1.0).upload([project], project)
    assert "\n" not in str(caught.value)


def test_missing_credentials_are_one_line(bucket, project, monkeypatch, tmp_path):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"cannot be written to \(NoCredentialsError: .*give the credentials where"):
        Storage(f"{bucket}-none", 1.0).upload([project], project)
    s3fs.S3FileSystem.clear_instance_cache()


def test_what_is_missing_here_is_not_uploaded(project, tmp_path):
    with pytest.raises(DataError, match=r"nothing\.bin does not exist, but other machines need it"):
        shared(tmp_path).upload([project / "nothing.bin"], project)


@pytest.mark.parametrize("damage", [b"two" * 999 + b"tvo", b"tw", None])
def test_damage_in_the_storage_is_refused_and_nothing_of_it_kept(damage, project, tmp_path, cache):
    storage = shared(tmp_path)
    files = storage.upload([project / "a/b/two.bin"], project)
    place = tmp_path / "shared" / files[0].key
    place.unlink() if damage is None else place.write_bytes(damage)
    with pytest.raises(DataError, match=r"^on \S+: .*(is damaged; delete it there|FileNotFoundError)"):
        _ = Checkout(storage, files).root
    assert not kept(cache)
    place.write_bytes(b"two" * 1000)
    assert contents(Checkout(storage, files).root) == {"a/b/two.bin": b"two" * 1000}  # nobody holds what failed


def test_damage_in_the_cache_is_mended(project, tmp_path, cache):
    storage = shared(tmp_path)
    files = storage.upload([project / "a/one.bin"], project)
    _ = Checkout(storage, files).root
    (cache / files[0].key).write_bytes(b"0ne")
    assert contents(Checkout(storage, files).root) == {"a/one.bin": b"one"}
    assert kept(cache)[files[0].key.removeprefix("sha256/")] == b"one"


def test_a_full_disk_is_one_line_and_names_the_machine(project, tmp_path, cache, monkeypatch):
    storage = shared(tmp_path)
    files = storage.upload([project / "a/one.bin"], project)
    filesystem, _ = storage._find(files[0])

    def full(self, path, local):
        Path(local).write_bytes(b"o")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(filesystem), "get_file", full)
    with pytest.raises(DataError, match=rf"^on \S+: no space left on the device while writing {cache}"):
        _ = Checkout(storage, files).root
    assert not kept(cache)


def test_processes_that_need_the_same_files_download_them_once(project, tmp_path, monkeypatch):
    storage = shared(tmp_path)
    files = storage.upload([project], project)
    downloaded, roots, download = [], [], Storage.download

    def counted(self, file, path):
        downloaded.append(file.name)
        download(self, file, path)

    monkeypatch.setattr(Storage, "download", counted)
    checkouts = [Checkout(storage, files) for _ in range(8)]
    threads = [threading.Thread(target=lambda one=one: roots.append(one.root)) for one in checkouts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(downloaded) == ["a/b/two.bin", "a/one.bin"] and len(set(roots)) == 1 and len(roots) == 8
    assert contents(roots[0]) == {"a/one.bin": b"one", "a/b/two.bin": b"two" * 1000}


def test_what_jobs_wrote_beside_the_files_is_there_for_the_next_one_and_not_in_the_cache(project, tmp_path, cache):
    storage = shared(tmp_path)
    files = storage.upload([project], project)
    (Checkout(storage, files).root / "made.txt").write_text("by a job")
    assert (Checkout(storage, files).root / "made.txt").read_text() == "by a job"
    assert len(kept(cache)) == len(files)


LIMIT = 1000  # bytes
WISH = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)
SIZES = [0, 90, 150, 300, 450, 700]


@settings(max_examples=25, deadline=None, derandomize=True)
@example([[1, 2, 3, 4]] * 2, 1, False)  # what is damaged must not take up the room of what takes its place
@given(wishes=st.lists(WISH, min_size=1, max_size=8), damaged=st.integers(0, 5), held=st.booleans())
def test_the_cache_holds_its_limit_and_gives_the_right_bytes(wishes, damaged, held):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        home, project = Path(folder, "cache"), Path(folder, "project")
        patch.setenv("PODIUM_CACHE", str(home))
        project.mkdir()
        for number, size in enumerate(SIZES):
            (project / f"{number}.bin").write_bytes(bytes([number]) * size)
        storage = Storage(Path(folder, "shared").as_uri(), LIMIT / GIB)
        files = storage.upload([project], project)
        first = Checkout(storage, files[:3]) if held else None
        before = contents(first.root) if first else {}
        for wish in wishes:
            checkout = Checkout(storage, tuple(files[number] for number in wish))
            needed = sum(SIZES[number] for number in {*wish, *(range(3) if held else ())})
            if needed > LIMIT:
                with pytest.raises(DataError, match=r"raise resources\.storage_cache_gib"):
                    _ = checkout.root
            else:
                assert contents(checkout.root) == {f"{n}.bin": bytes([n]) * SIZES[n] for n in wish}
            assert sum(map(len, kept(home).values())) <= LIMIT
            assert not first or contents(first.root) == before
            del checkout
            cached = home / files[damaged].key
            if cached.is_file() and cached.stat().st_size and not (held and damaged < 3):
                cached.write_bytes(b"?" * SIZES[damaged])


def test_what_was_used_last_is_kept(project, tmp_path, cache):
    for name in "cde":
        (project / name).write_bytes(name.encode() * 400)
    storage = shared(tmp_path, 1000 / GIB)
    c, d, e = storage.upload([project / name for name in "cde"], project)
    for number, file in enumerate((c, d, c)):  # one after the other, whatever the clock's resolution
        root = Checkout(storage, (file,)).root
        for path in (cache / file.key, root.with_name(f"{root.name}.lock")):
            os.utime(path, (number, number))
    _ = Checkout(storage, (e,)).root
    assert sorted(kept(cache).values()) == [b"c" * 400, b"e" * 400]
