"""The bounded draw of images that probes are fitted on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from podium.core.errors import DataError
from podium.curation import features
from podium.curation.features import draw
from tests.shapes import Shapes, shape_pictures, write_shapes


@pytest.fixture
def shapes(tmp_path: Path) -> Shapes:
    return write_shapes(tmp_path, *shape_pictures(15))


def test_rows_follow_the_ids_and_do_not_depend_on_the_order_of_the_tables(shapes: Shapes) -> None:
    drawn = draw(shapes.splits, shapes.manifest, shapes.measures)
    other = draw(shapes.splits[::-1], shapes.manifest.iloc[::-1], shapes.measures.sample(frac=1, random_state=0))

    assert drawn.rows["image_id"].is_monotonic_increasing and len(drawn.rows) == 60
    assert drawn.rows.equals(other.rows)
    assert np.array_equal(drawn.looks, other.looks) and np.array_equal(drawn.borders, other.borders)
    assert len(drawn.looks) == len(drawn.mirrored) == len(drawn.borders) == len(drawn.aspect) == 60


def test_a_class_gives_at_most_the_images_asked_for(shapes: Shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(
        draw(shapes.splits, shapes.manifest, shapes.measures, images_per_class=6).rows.value_counts("label")
    ) == {6}

    monkeypatch.setattr(features, "MOST_IMAGES", 16)
    assert set(draw(shapes.splits, shapes.manifest, shapes.measures).rows.value_counts("label")) == {4}


def test_mirroring_changes_layout_and_not_colours(shapes: Shapes) -> None:
    drawn = draw(shapes.splits, shapes.manifest, shapes.measures)

    assert not np.allclose(drawn.looks, drawn.mirrored)
    cells = 8 * 8 * 3
    assert np.allclose(drawn.looks[:, cells : cells + 48], drawn.mirrored[:, cells : cells + 48])


def test_the_test_split_is_refused(shapes: Shapes) -> None:
    opened = replace(shapes.splits[1], name="test")

    with pytest.raises(DataError, match="only train and val are"):
        draw((shapes.splits[0], opened), shapes.manifest, shapes.measures)


@pytest.mark.parametrize("missing", ["manifest", "measures"])
def test_an_image_that_is_not_in_the_tables_is_an_error(shapes: Shapes, missing: str) -> None:
    cut = replace(shapes, **{missing: getattr(shapes, missing).iloc[1:]})

    with pytest.raises(DataError, match="dvc repro -f preprocess"):
        draw(cut.splits, cut.manifest, cut.measures)
