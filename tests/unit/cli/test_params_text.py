"""Changing values in the text of a params file."""

import pytest

from podium.cli.params_text import with_runtime


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runtime:\n  dtype: float32\n", "runtime:\n  dtype: bfloat16\n"),
        ("a: 1\nruntime:\n  dtype: float32   # x\nb: 2\n", "a: 1\nruntime:\n  dtype: bfloat16  # x\nb: 2\n"),
        (
            "runtime:  # how\n\n  # why\n    threads: 2\n",
            "runtime:  # how\n    dtype: bfloat16\n\n  # why\n    threads: 2\n",
        ),
        ("runtime:\r\n  dtype: float32\r\nb: 2\r\n", "runtime:\r\n  dtype: bfloat16\r\nb: 2\r\n"),
        ("x:\n  dtype: float32\nruntime:\n  dtype: a\n", "x:\n  dtype: float32\nruntime:\n  dtype: bfloat16\n"),
        ("runtime:\n  dtype: float32\ny:\n  dtype: b\n", "runtime:\n  dtype: bfloat16\ny:\n  dtype: b\n"),
        ("runtime: {}\n", None),
        ("x: 1\n", None),
    ],
)
def test_only_the_section_is_edited_however_it_is_written(text, expected):
    assert with_runtime(text, {"dtype": "bfloat16"}) == expected
