"""What is kept of decoded images saves time and changes no byte, whatever becomes of it."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.config.preprocess import Preprocess, Preprocessing
from podium.core.errors import DataError
from podium.core.files import sha256_tree
from podium.core.layout import MANIFEST, READINGS, Layout
from podium.curation import decode_cache, decoding
from podium.curation.decode_cache import DecodeCache, image_keys
from podium.data.manifest import RAW_COLUMNS, read_manifest
from podium.pipeline.preprocess import preprocess_dataset
from podium.sources.source import Box
from tests.raw_images import RawFile, files, picture, png, write_raw

SIZE = Preprocess(image_size=16)
CLASSES = ["lemon", "orange"]
BROKEN = RawFile("lemon/broken.png", "lemon", b"no image")
BOX = RawFile("lemon/0.png", "lemon", png(picture("lemon", 0)), box=Box(0.1, 0.0, 0.9, 0.75))
COPY = RawFile("orange/copy.png", "orange", png(picture("orange", 0)))
EDGES = ("box_left", "box_top", "box_right", "box_bottom")
IMAGES = [*files(CLASSES, 12), BROKEN, BOX, COPY]
NEW = RawFile("lemon/new.png", "lemon", png(picture("lemon", 99)))

# Decodes, and is killed without notice at the tenth image.
KILLED = """
import os, signal, sys
from pathlib import Path
from podium.config.preprocess import Preprocess
from podium.core.layout import Layout
from podium.curation import decoding
from podium.pipeline.preprocess import preprocess_dataset

store, decoding._BATCH, seen = decoding.Decoder._store, 4, []

def stored(self, *arguments):
    seen.append(0)
    if len(seen) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return store(self, *arguments)

decoding.Decoder._store = stored
preprocess_dataset(Layout(Path(sys.argv[1])), Preprocess(image_size=16), seed=0, workers=0, decoded_gib=1)
"""


def give(layout: Layout, images: list[RawFile]) -> None:
    """In place of the images that were there."""
    shutil.rmtree(layout.raw, ignore_errors=True)
    write_raw(layout, images)


def prepare(layout: Layout, params: Preprocess = SIZE, gib: float = 1.0) -> str:
    preprocess_dataset(layout, params, seed=0, workers=0, decoded_gib=gib)
    return sha256_tree([layout.prepared], layout.prepared)


def from_nothing(images: list[RawFile], params: Preprocess = SIZE) -> str:
    """The same without anything that was kept."""
    with TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        give(layout, images)
        return prepare(layout, params, gib=0)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All images were decoded once; not to be changed."""
    layout = Layout(tmp_path_factory.mktemp("warm"))
    give(layout, IMAGES)
    prepare(layout)
    return layout.root


@pytest.fixture
def layout(warm: Path, tmp_path: Path) -> Layout:
    """A copy of it."""
    return Layout(shutil.copytree(warm, tmp_path / "project"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each photograph that is decoded from now on."""
    seen: list[int] = []
    decode = decoding.decode

    def counted(data: bytes, *arguments: int | None) -> decoding.DecodedImage:
        seen.append(len(data))
        return decode(data, *arguments)

    monkeypatch.setattr(decoding, "decode", counted)
    return seen


def test_only_a_new_image_is_decoded(layout: Layout, decoded: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    give(layout, [NEW, *IMAGES])
    capsys.readouterr()

    after = prepare(layout)

    assert decoded == [len(NEW.data)]
    assert f"preprocess: {len(IMAGES)} of {len(IMAGES) + 1} images were decoded before" in capsys.readouterr().out
    assert after == from_nothing([NEW, *IMAGES])


@pytest.mark.parametrize("changes", [{"split_seed": 3}, {"train_placement": "random"}])
def test_what_decoding_does_not_look_at_decodes_nothing(layout: Layout, decoded: list[int], changes) -> None:
    params = SIZE.model_copy(update=changes)

    after = prepare(layout, params)

    assert not decoded
    assert after == from_nothing(IMAGES, params)


@pytest.mark.parametrize("changes", [{"image_size": 24}, {"minimum_side": 20}])
def test_other_params_decode_everything_and_leave_nothing_of_before(
    layout: Layout, decoded: list[int], changes
) -> None:
    params = SIZE.model_copy(update=changes)

    after = prepare(layout, params)

    assert len(decoded) == len(IMAGES)
    assert len(list(layout.decoded.iterdir())) == 1
    assert after == from_nothing(IMAGES, params)


def test_other_code_decodes_everything(layout: Layout, decoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    code = decode_cache.module_code(layout.root, "podium.data.file_kinds")
    monkeypatch.setattr(decode_cache, "module_code", lambda root, name: code)

    prepare(layout)

    assert len(decoded) == len(IMAGES)


def test_the_code_is_what_decodes_and_not_what_splits(layout: Layout) -> None:
    modules = decode_cache.module_code(layout.root, "podium.curation.decode_cache").modules

    assert {"podium.data.decode", "podium.curation.measures", "podium.curation.decode_cache"} <= modules.keys()
    assert "podium.curation.splits" not in modules


FILES = ("pixels.bin", "signatures.bin", "measures.bin", READINGS)


def flip(file: Path, at: float) -> None:
    data = bytearray(file.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0x10
    file.write_bytes(data)


def cut(file: Path, at: float) -> None:
    file.write_bytes(file.read_bytes()[: int(at * file.stat().st_size)])


def swap(file: Path, at: float) -> None:
    data = file.read_bytes()
    place = int(at * len(data))
    file.write_bytes(data[place:] + data[:place])


def lose(file: Path, at: float) -> None:
    file.unlink()


def contents(layout: Layout) -> list[tuple[object, ...]]:
    """What came of each image, with the bytes of its row; as `preprocess` has it when it goes on."""
    raw = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS)
    cache = DecodeCache(layout.decoded, layout.root, SIZE, image_keys(raw))
    job = decoding.DecodeJob(layout.raw, cache.arrays, Preprocessing(image_size=16))
    new = [number for number, reading in enumerate(cache.readings) if reading is None]
    wanted = [
        decoding.RawImage(cache.rows[n], raw["shard"][n], raw["photo_id"][n], tuple(raw.loc[n, list(EDGES)]))
        for n in new
    ]
    cache.add(new, [reading for batch in decoding.decode_all(job, wanted, 0) for reading in batch])
    out = []
    for reading in cache.finish().itertuples(index=False):
        size = reading.content_width * reading.content_height * 3
        arrays = (cache.arrays.pixels, cache.arrays.signatures, cache.arrays.measures)
        kept = [array.read()[reading.row].tobytes() for array in arrays] if size else []
        out.append((*reading[1:], *(data[:size] if n == 0 else data for n, data in enumerate(kept))))
    return out


@settings(max_examples=12, deadline=None)
@given(
    damages=st.lists(
        st.tuples(st.sampled_from((flip, cut, swap, lose)), st.sampled_from(FILES), st.floats(0, 1)), max_size=3
    ),
    gone=st.integers(0, 3),
    new=st.integers(0, 2),
)
def test_whatever_became_of_the_cache_images_are_what_they_are_without(
    warm: Path, damages: list[tuple[Callable[[Path, float], None], str, float]], gone: int, new: int
) -> None:
    images = [*IMAGES[gone:], *(RawFile(f"new/{n}.png", "orange", png(picture("new", n))) for n in range(new))]
    with TemporaryDirectory() as folder:
        layout, other = Layout(shutil.copytree(warm, Path(folder) / "warm")), Layout(Path(folder) / "cold")
        give(layout, images)
        give(other, images)
        for damage, name, at in damages:
            for file in layout.decoded.rglob(name):
                damage(file, at)

        assert contents(layout) == contents(layout) == contents(other)


def test_a_damaged_cache_gives_the_files_of_a_run_without(layout: Layout, decoded: list[int]) -> None:
    [pixels] = layout.decoded.rglob("pixels.bin")
    swap(pixels, 0.3)
    [lines] = layout.decoded.rglob(READINGS)
    flip(lines, 0.5)

    after = prepare(layout)

    assert len(decoded) > len(IMAGES) / 2
    assert after == from_nothing(IMAGES)


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path, decoded: list[int]) -> None:
    layout = Layout(tmp_path)
    give(layout, IMAGES)

    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == -9
    after = prepare(layout)

    assert 0 < len(decoded) < len(IMAGES) - 4
    assert after == from_nothing(IMAGES)


def test_no_more_is_kept_than_asked_for(layout: Layout, decoded: list[int]) -> None:
    def on_disk() -> int:
        return sum(file.stat().st_size for file in layout.decoded.rglob("*.bin"))

    half = on_disk() / 2
    prepare(layout, gib=half / 2**30)
    assert not decoded
    assert 0 < on_disk() <= half

    after = prepare(layout, gib=0)
    assert len(IMAGES) / 3 < len(decoded) < len(IMAGES)
    assert on_disk() == 0
    assert after == from_nothing(IMAGES)


def test_a_full_disk_gets_its_room_back(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    give(layout, [NEW, *IMAGES])
    monkeypatch.setattr(DecodeCache, "add", full)

    with pytest.raises(DataError, match="no space left on the device"):
        prepare(layout)
    assert not list(layout.decoded.iterdir())
