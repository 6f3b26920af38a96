"""The ledger of the test split: for which model it was opened, what for, when, by whom.

A line a model and test split, appended before the first answer is computed: an evaluation that was killed has looked,
too. A line holds its own digest and those of the lines that were last before it (of more than one after a merge of two
branches), so that a line which was cut out or edited is noticed; git keeps the file. Nothing is computed from it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import log, sqrt
from pathlib import Path

from podium.console.process import once, utc_now, whoami
from podium.core.errors import DataError
from podium.core.files import canonical_json, sha256_text, write_text
from podium.core.layout import Layout
from podium.records.base import Record
from podium.records.evaluation import Leaderboard

_CONFLICT = (b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")


class Opening(Record):
    """One line. `when` is UTC in ISO 8601; `images` is a digest of which images the split holds, whatever their size.

    `previous` are digests of the lines that no other line followed yet; `digest` is of this line without itself.
    """

    when: str
    who: str
    purpose: str
    fingerprint: str
    test_digest: str
    images: str
    previous: list[str]
    digest: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What is counted: one model on one state of the test split."""
        return self.fingerprint, self.test_digest

    def sealed(self) -> str:
        """The digest that the line must hold, 64 hex digits."""
        return sha256_text(canonical_json(self.model_dump(exclude={"digest"})))


@dataclass(frozen=True)
class Openings:
    """How often the test images of a comparison were opened.

    Attributes:
        models: how many models they were opened for, by the ledger.
        images: how many there are.
        budget: `evaluate.openings_budget`.
        missing: models of the comparison whose opening is not in the ledger.
        problem: why the ledger cannot be read; empty where it can.
    """

    models: int
    images: int
    budget: int | None
    missing: tuple[str, ...] = ()
    problem: str = ""

    @property
    def spent(self) -> bool:
        """Whether the budget is exceeded."""
        return self.budget is not None and self.models > self.budget

    @property
    def bias(self) -> float:
        """How much too good the best of the models looks, at most, on average; a fraction (`docs/metrics.md`)."""
        return sqrt(log(max(1, self.models)) / (2 * self.images))

    @property
    def said(self) -> str:
        """All of it in sentences."""
        if self.problem:
            return f"How often the test set was used is not known: {self.problem}."
        times = "once" if self.models == 1 else f"{self.models:,} times"
        said = f"Test set used {times}" + (f" (budget {self.budget:,})" if self.budget else "")
        if self.models > 1:
            said += (
                f": the best of {self.models:,} models looks up to {100 * self.bias:.1f} points better on {self.images:,} "
                "images than it is, by the luck of the choice alone"
            )
        said += ". Its budget is spent: choose by validation images, or gather new test images." if self.spent else "."
        if self.missing:
            said += f" Not in the ledger: {', '.join(self.missing)}, measured before there was one, or its lines were cut."
        return said


def note_opening(layout: Layout, *, fingerprint: str, test_digest: str, image_ids: Iterable[str], purpose: str) -> None:
    """Appends a line, unless the model was measured on this test split before.

    Raises:
        DataError: the ledger is damaged.
        PodiumError: another process holds it for a minute.
    """
    with once(Layout(layout.main_root), "test openings"):
        known = read_openings(layout)
        if (fingerprint, test_digest) not in {opening.key for opening in known}:
            followed = {digest for opening in known for digest in opening.previous}
            line = Opening(
                when=utc_now(),
                who=whoami(),
                purpose=purpose,
                fingerprint=fingerprint,
                test_digest=test_digest,
                images=sha256_text("\n".join(sorted(image_ids))),
                previous=[opening.digest for opening in known if opening.digest not in followed],
            )
            known.append(line.model_copy(update={"digest": line.sealed()}))
        _write(layout, known)


def restore_openings(layout: Layout) -> None:
    """Brings back lines that were appended here and that the file has lost; writes nothing where there are none.

    Raises:
        DataError: the ledger is damaged.
        PodiumError: another process holds it for a minute.
    """
    with once(Layout(layout.main_root), "test openings"):
        _write(layout, read_openings(layout))


def read_openings(layout: Layout) -> list[Opening]:
    """Every opening, oldest first: those of the file, then those that were appended here and are not in it.

    Raises:
        DataError: a line was cut out or edited, or the file holds a merge conflict.
    """
    place, copy = layout.test_openings, layout.test_openings_copy
    back = f"`git checkout {place.relative_to(layout.main_root)}` brings back what was committed, evaluate the rest"
    openings = {opening.digest: opening for opening in _read(place, back)}
    return list((openings | {opening.digest: opening for opening in _read(copy, "delete it")}).values())


def opened(layout: Layout, test_digest: str) -> set[tuple[str, str]]:
    """The `key` of each opening of the images that a test split holds, whatever was done to them.

    Raises:
        DataError: the ledger is damaged.
    """
    known = read_openings(layout)
    images = {opening.images for opening in known if opening.test_digest == test_digest}
    return {opening.key for opening in known if opening.images in images}


def count_openings(layout: Layout, board: Leaderboard, budget: int | None) -> Openings:
    """How often the test images of a comparison were opened; a damaged ledger is told and stops nobody."""
    try:
        found = opened(layout, board.test_digest)
    except DataError as error:
        return Openings(0, board.images, budget, problem=str(error))
    missing = tuple(row.model for row in board.rows if (row.fingerprint, board.test_digest) not in found)
    return Openings(len(found), board.images, budget, missing)


def _read(path: Path, back: str) -> list[Opening]:
    """The lines of a file, the same one once; none where there is none. `back` says how it is mended."""
    found: dict[str, Opening] = {}
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else [], start=1):
        if line.startswith(_CONFLICT):
            raise DataError(f"{path} line {number} is a merge conflict: keep the lines of both sides, delete its marks")
        try:
            opening = Opening.model_validate_json(line)
        except ValueError as error:
            raise DataError(f"{path} line {number} was cut or edited: {back}") from error
        if opening.digest != opening.sealed():
            raise DataError(f"{path} line {number} was edited, its digest is another one: {back}")
        if not found.keys() >= set(opening.previous):
            raise DataError(f"{path} line {number} follows a line that is not there any more: {back}")
        found[opening.digest] = opening
    return list(found.values())


def _write(layout: Layout, openings: list[Opening]) -> None:
    """Writes both files, each whole or not at all, where they differ."""
    text = "".join(f"{json.dumps(opening.model_dump())}\n" for opening in openings)
    for path in (layout.test_openings, layout.test_openings_copy):
        if text and (not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text):
            write_text(path, text)
