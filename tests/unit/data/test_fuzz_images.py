"""Any bytes give pixels or a DataError in one line: never another exception, a hang, or a warning that passes."""

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.errors import DataError
from podium.data.images import read_image
from podium.records.preprocess import Preprocessing
from tests.damage import damaged, no_longer_than
from tests.data.hard_images import READABLE, UNREADABLE

HOW = Preprocessing(image_size=12, pad_value=114, max_pixels=1_000_000)
FILES = [case.make() for case in (*READABLE, *UNREADABLE) if case.name != "empty file"]
SIGNATURES = [b"", *{file[:24] for file in FILES}]


def read_or_refused(data: bytes) -> None:
    try:
        with no_longer_than(20), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata makes Pillow warn
            pixels = read_image(data, HOW).pixels
    except DataError as error:
        assert str(error).startswith("unreadable: ")
        assert "\n" not in str(error)
        assert str(error).encode()
    else:
        assert pixels.shape == (12, 12, 3) and pixels.dtype == np.uint8


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SIGNATURES)), st.binary(max_size=400))
def test_random_bytes_behind_any_signature_are_refused(signature: bytes, rest: bytes) -> None:
    read_or_refused(signature + rest)


@settings(max_examples=400, deadline=None)
@given(damaged(FILES))
def test_a_damaged_image_is_read_or_refused(data: bytes) -> None:
    read_or_refused(data)
