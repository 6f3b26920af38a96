"""Any snapshot gives images or a DataError in one line, also one whose table or record somebody edited."""

import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podium.config.dataset import Fetch, SnapshotDataset
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.sources.snapshot import ABOUT, TABLE, open_snapshot, write_snapshot
from tests.damage import damaged, no_longer_than
from tests.raw_images import files, write_raw

SECTION = SnapshotDataset(location="data/s.zip")
FUZZ = settings(max_examples=150)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good snapshot's members by name."""
    layout = Layout(tmp_path_factory.mktemp("good"))
    write_raw(layout, files(["apple", "배"], 2))
    layout.data.mkdir()
    with zipfile.ZipFile(write_snapshot(layout, "s").archive) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def open_and_read(members: dict[str, bytes], folder: Path) -> bool:
    """Reads a snapshot of these members; whether it was not refused."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    path = folder / "data" / "s.zip"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(packed.getvalue())
    try:
        with no_longer_than(20):
            for part in open_snapshot(Layout(folder), SECTION, Fetch()):
                for image in part.images:
                    assert 0 <= image.box.left < image.box.right <= 1 and 0 <= image.box.top < image.box.bottom <= 1
                    assert image.label and image.path
                    assert part.source.read(image.path)
    except DataError as refused:
        assert "\n" not in str(refused) and str(refused).encode()
        return False
    return True


def test_a_good_snapshot_is_read(tmp_path: Path, members: dict[str, bytes]) -> None:
    assert open_and_read(members, tmp_path)


@FUZZ
@given(st.data())
def test_an_edited_table_is_read_or_refused(tmp_path: Path, members: dict[str, bytes], data: st.DataObject) -> None:
    open_and_read({**members, TABLE: data.draw(damaged([members[TABLE]]))}, tmp_path)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        # a box that is none would be cut out of the photograph much later, far from its row
        (b"0.0,0.0,1.0,1.0", b"nan,0.0,1.0,1.0"),
        (b"0.0,0.0,1.0,1.0", b"1.0,0.0,0.0,1.0"),
        (b"0.0,0.0,1.0,1.0", b"0.0,0.0,7.0,1.0"),
    ],
)
def test_a_box_that_is_none_is_refused(tmp_path: Path, members: dict[str, bytes], was: bytes, now: bytes) -> None:
    assert was in members[TABLE]
    assert not open_and_read({**members, TABLE: members[TABLE].replace(was, now)}, tmp_path)


@FUZZ
@given(st.data())
@example(None)
def test_an_edited_record_is_read_or_refused(
    tmp_path: Path, members: dict[str, bytes], data: st.DataObject | None
) -> None:
    about = b"[" * 100_000 if data is None else data.draw(damaged([members[ABOUT]]))  # deeper than a parser recurses
    open_and_read({**members, ABOUT: about}, tmp_path)
