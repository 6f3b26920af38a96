"""A log of what a model answered: time, model, label, confidence, measures of the image; no pixel and no name.

Rows are lines of JSON in parts of a bounded size, appended under a lock of the folder, so any number of processes write
at once. The oldest part goes when there are too many. What is written is not synced to the disk row by row: a power cut
loses the last seconds.
"""

import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from podium.config.preprocess import Preprocessing
from podium.core.errors import DataError
from podium.core.files import raise_if_full, replacing
from podium.core.layout import LOG_KEY
from podium.curation.reading import MeasuredImage, read_measured
from podium.records.drift import LoggedPrediction
from podium.registry.loading import LoadedModel

KEY_VARIABLE = "PODIUM_LOG_KEY"
"""Environment variable with the key of the ids; without it a random one is kept beside the log."""
PART_BYTES, MOST_PARTS = 16 * 2**20, 16
_PARTS = "predictions-*.jsonl"
_POLL_SECONDS = 0.002  # a row is written in less: with the library's 0.05 one of two writers would hardly get its turn
_DIGITS = 9  # a float32 comes back as it was: the same value as in training is no smaller one


@dataclass(frozen=True)
class LoggedImage(MeasuredImage):
    """An image as the model sees it, with its cheap measures and its `id` in the log."""

    id: str


class PredictionLog:
    """The log in a folder, written for one model."""

    def __init__(self, folder: Path, loaded: LoadedModel) -> None:
        """Makes the folder, and a key in it unless the environment has one."""
        folder.mkdir(parents=True, exist_ok=True)
        card = loaded.classifier.card
        self._folder, self._preprocessing = folder, card.preprocessing
        self._same = {"model": card.model, "version": loaded.version or None, "fingerprint": short(card.fingerprint)}
        self._lock = FileLock(folder / ".lock")
        self._key = self._find_key()

    def read(self, data: bytes, preprocessing: Preprocessing | None = None) -> LoggedImage:
        """Reads an image file, once for the model and for the log, as the model's card says or by stricter limits.

        Raises:
            DataError: it cannot be read; the message starts with `unreadable: `.
        """
        found = read_measured(data, preprocessing or self._preprocessing, cheap=True)
        return LoggedImage(**vars(found), id=hmac.digest(self._key, data, "sha256").hex()[:32])

    def append(self, answers: Iterable[tuple[LoggedImage, str, float, bool]]) -> None:
        """Adds rows, all or none of them.

        Args:
            answers: image, label, calibrated confidence, whether the model abstained.

        Raises:
            DataError: the disk is full.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        rows = [
            LoggedPrediction(
                **self._same,
                time=now,
                id=image.id,
                label=label,
                confidence=confidence,
                abstained=abstained,
                width=image.width,
                height=image.height,
                measures={name: float(f"{value:.{_DIGITS}g}") for name, value in image.measures.items()},
            )
            for image, label, confidence, abstained in answers
        ]
        if not rows:
            return
        lines = "".join(f"{row.model_dump_json()}\n" for row in rows).encode()
        with self._lock.acquire(poll_interval=_POLL_SECONDS):
            part = self._part_for(len(lines))
            try:
                with part.open("ab+") as stream:
                    stream.write(_line_end(part) + lines)
            except OSError as error:
                raise_if_full(error, part)
                raise

    def _part_for(self, size: int) -> Path:
        """The part to append to; where the last one is full a new one, for which the oldest may go."""
        parts = sorted(self._folder.glob(_PARTS))
        if parts and parts[-1].stat().st_size + size <= PART_BYTES:
            return parts[-1]
        for oldest in parts[: max(0, len(parts) + 1 - MOST_PARTS)]:
            oldest.unlink()
        number = int(parts[-1].stem.rpartition("-")[2]) + 1 if parts else 1
        return self._folder / _PARTS.replace("*", f"{number:08d}")

    def _find_key(self) -> bytes:
        """What the ids are made with."""
        if given := os.environ.get(KEY_VARIABLE):
            return given.encode()
        path = self._folder / LOG_KEY
        with self._lock:
            if not path.is_file():
                with replacing(path) as temporary:
                    temporary.chmod(0o600)
                    temporary.write_text(secrets.token_hex(32), encoding="ascii")
            return path.read_bytes()


def read_log(folder: Path) -> tuple[list[LoggedPrediction], int]:
    """The rows of a log, the oldest first, and how many lines are none, as a process leaves that is killed meanwhile.

    Raises:
        DataError: there is no log.
    """
    parts = sorted(folder.glob(_PARTS))
    if not parts:
        raise DataError(
            f"{folder} holds no prediction log: name the folder that was given to `podium predict --log` or "
            "`podium serve --log`"
        )
    rows, broken = [], 0
    for part in parts:
        for line in part.read_bytes().splitlines():
            try:
                rows.append(LoggedPrediction.model_validate_json(line))
            except ValidationError:
                broken += bool(line)
    return rows, broken


def short(fingerprint: str) -> str:
    """How a log names a model."""
    return fingerprint[:32]


def _line_end(part: Path) -> bytes:
    """What ends the line that a killed process left open; empty where none is."""
    if not part.stat().st_size:
        return b""
    with part.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return b"" if stream.read() == b"\n" else b"\n"
