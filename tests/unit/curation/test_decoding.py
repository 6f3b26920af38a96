import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from podium.config.preprocess import Preprocessing
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.core.storage import Storage
from podium.curation import decoding
from podium.curation.decoding import DecodeJob, RawImage, decode_all
from podium.curation.temporary_arrays import TemporaryArrays
from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
from tests.raw_images import files, write_raw

HOW = Preprocessing(image_size=16, pad_value=114, max_pixels=10**6)

# Decodes for a long time with two processes and says when they work.
ENDLESS = """
import sys
from pathlib import Path
from podium.config.preprocess import Preprocessing
from podium.curation import decoding
from podium.curation.temporary_arrays import TemporaryArrays

if __name__ == "__main__":
    folder, shard, *keys = sys.argv[1:]
    arrays = TemporaryArrays(Path(folder), 100_000, 16)
    arrays.allocate()
    images = [decoding.RawImage(row, shard, keys[row % 2]) for row in range(100_000)]
    how = Preprocessing(image_size=16, pad_value=114, max_pixels=10**6)
    started = decoding.decode_all(decoding.DecodeJob(Path(folder) / "artifacts/raw", arrays, how), images, 2)
    next(started)
    print("started", flush=True)
    for _ in started:
        pass
"""


def raw(root: Path, count: int) -> tuple[Layout, list[RawImage]]:
    layout = Layout(root)
    write_raw(layout, files(["lemon"], count))
    manifest = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)
    rows = zip(manifest["shard"], manifest["photo_id"], manifest["photo_sha256"], strict=True)
    return layout, [RawImage(row, shard, key, photo_sha256=sha) for row, (shard, key, sha) in enumerate(rows)]


@pytest.mark.parametrize("workers", [0, 2])
def test_readings_come_in_the_order_of_the_images(tmp_path: Path, workers: int) -> None:
    layout, images = raw(tmp_path, 150)
    arrays = TemporaryArrays(tmp_path, len(images), 16)
    arrays.allocate()

    readings = [
        reading for batch in decode_all(DecodeJob(layout.raw, arrays, HOW), images, workers) for reading in batch
    ]

    assert [reading.row for reading in readings] == list(range(150))
    assert arrays.pixels.read().shape == (150, 16 * 16 * 3)
    assert arrays.pixels.read().std(axis=1).min() > 0  # every row was written
    assert arrays.signatures.read().any(axis=1).all()
    assert arrays.measures.read().any(axis=1).all()


@pytest.fixture
def stored(tmp_path):
    """Raw images, what reads them from a storage as a node does, and the place of their shard there."""
    layout, images = raw(tmp_path / "project", 3)
    storage = Storage((tmp_path / "shared").as_uri(), 1.0)
    (shard,) = storage.upload([layout.raw / images[0].shard], layout.raw)
    read = decoding._StoredPhotographs(storage, {shard.name: shard})
    return layout, images, read, tmp_path / "shared" / shard.key


def test_a_storage_gives_the_photographs_of_the_shards(stored):
    layout, images, read, _ = stored
    assert [read(image) for image in images] == [RawImages(layout.raw).read(i.shard, i.photo_id) for i in images]


@pytest.mark.parametrize("damage", ["another image", "a bit", "the end", "all"])
def test_a_photograph_that_is_not_what_the_manifest_says_is_refused(stored, damage):
    layout, images, read, place = stored
    image, data = images[0], place.read_bytes()
    within = data.index(RawImages(layout.raw).read(image.shard, image.photo_id)) + 20
    if damage == "another image":
        image = replace(image, photo_sha256=images[1].photo_sha256)
    elif damage == "all":
        place.unlink()
    else:
        place.write_bytes(
            data[:-50] if damage == "the end" else data[:within] + bytes([data[within] ^ 1]) + data[within + 1 :]
        )
    wanted = "cannot be read" if damage == "all" else "does not hold photograph .* with its digest: delete it there"
    with pytest.raises(DataError, match=wanted):
        read(image)


def test_a_full_disk_is_an_error_that_can_be_told(tmp_path: Path) -> None:
    layout, images = raw(tmp_path, 3)
    arrays = TemporaryArrays(tmp_path, 3, 16)
    arrays.allocate()
    arrays.pixels.path.unlink()
    arrays.pixels.path.symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left on device"):
        list(decode_all(DecodeJob(layout.raw, arrays, HOW), images, 0))


def test_an_image_that_is_not_in_its_shard_stops_the_processes(tmp_path: Path) -> None:
    layout, images = raw(tmp_path, 150)
    arrays = TemporaryArrays(tmp_path, len(images), 16)
    arrays.allocate()
    missing = [*images[:140], RawImage(140, "images-00000.zip", "0" * 16), *images[141:]]

    with pytest.raises(DataError, match="does not hold photograph 0000"):
        list(decode_all(DecodeJob(layout.raw, arrays, HOW), missing, 2))


def test_processes_end_when_the_stage_is_killed(tmp_path: Path) -> None:
    _, images = raw(tmp_path, 2)
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path), images[0].shard, *(i.photo_id for i in images)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as stage:
        assert stage.stdout is not None
        assert stage.stdout.readline() == "started\n"
        stage.kill()
        try:
            stage.communicate(timeout=600)  # the pipe closes once every process that inherited it has ended
        except subprocess.TimeoutExpired:
            os.killpg(stage.pid, signal.SIGKILL)
            pytest.fail("processes of a killed stage go on")
