"""Damage to a file for tests that read strangers' bytes: changed, lost, doubled and foreign bytes, and an early end."""

import json
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from types import FrameType
from typing import Any

from hypothesis import strategies as st


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes], most: int = 6) -> bytes:
    """One of the files, damaged in up to `most` places."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(("change", "number", "lose", "double", "insert", "end"))):
            case "change":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":  # what a length, a size or an offset may say
                size = draw(st.sampled_from((2, 4, 8)))
                data[at : at + size] = draw(st.sampled_from((b"\0", b"\xff", b"\x7f", b"\x80"))) * size
            case "lose":
                del data[at : at + draw(st.integers(1, 64))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=64))
            case "end":
                del data[at:]
    return bytes(data)


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Fails where the block hangs.

    Raises:
        _Hangs: it took longer.
    """

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Hangs(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Hangs(BaseException):
    """Not an Exception, so that no reader takes it for damage."""


_OTHER = (
    None,
    True,
    -1,
    0,
    0.5,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 300,
    [],
    {},
    [[]],
    [None],
    {"": None},
    "NaN",
    "Infinity",
)


def changed_json(seed: int, file: bytes, most: int = 3) -> bytes:
    """A JSON document with up to `most` values lost, doubled, emptied, or of another type or size.

    Floats may become `NaN` and `Infinity`, which Python writes and reads though JSON has neither.
    """
    chance, document = random.Random(seed), {"": json.loads(file)}
    for _ in range(chance.randint(1, most)):
        around, key = chance.choice(list(_places(document)))
        match chance.choice(("replace", "empty", "lose", "add")):
            case "replace":
                around[key] = deepcopy(chance.choice(_OTHER))
            case "empty":
                around[key] = type(around[key])() if around[key] is not None else None
            case "lose" if around is not document:
                del around[key]
            case "add" if isinstance(around[key], dict):
                around[key]["added"] = 1
            case "add" if isinstance(around[key], list):
                around[key] *= 2
            case _:
                pass
    return json.dumps(document[""]).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document: what it lies in, and its key or number there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
