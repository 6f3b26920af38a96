"""The ledger of the test split: for which model it was opened, what for, when, by whom.

A line a model and test split, appended before the first answer is computed: an evaluation that was killed has looked,
too. A line holds its own digest and those of the lines that were last before it (of more than one after a merge of two
branches), so that a line which was cut out or edited is noticed; git keeps the file. Nothing is computed from it.
"""

import json
from dataclasses import dataclass
from math import log, sqrt
from pathlib import Path

from pydantic import Field

from podium.console.process import once, utc_now, whoami
from podium.core.errors import DataError
from podium.core.files import canonical_json, sha256_text, write_text
from podium.core.layout import Layout
from podium.records.base import Record
from podium.records.evaluation import Leaderboard


class Opening(Record):
    """One line. `when` is UTC in ISO 8601; `images` is a digest of which images the split holds, whatever their size.

    `previous` are digests of the lines that no other line followed yet; `digest` is of this line without itself.
    """

    when: str = Field(default_factory=utc_now)
    who: str = Field(default_factory=whoami)
    purpose: str
    fingerprint: str
    test_digest: str
    images: str
    previous: list[str] = []
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
    """For how many `models` the `images` of a comparison's test split were opened, by the ledger.

    `missing` are models of the comparison that it does not hold; `problem` is why it cannot be read, or empty.
    """

    models: int
    images: int
    budget: int | None
    missing: tuple[str, ...] = ()
    problem: str = ""

    @property
    def spent(self) -> bool:
        """Whether there is a budget (`evaluate.openings_budget`) and it is exceeded."""
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
        said = "Test set used once" if self.models == 1 else f"Test set used {self.models:,} times"
        said += f" (budget {self.budget:,})" if self.budget else ""
        if self.models > 1:
            said += f": on {self.images:,} images, the luck of the best of {self.models:,} models is worth at most "
            said += f"{100 * self.bias:.1f} points on average"
        said += ". Its budget is spent: choose by validation images, or gather new test images." if self.spent else "."
        lost = "measured before there was one, or their lines were cut"
        return said + (f" Not in the ledger: {', '.join(self.missing)} ({lost})." if self.missing else "")


def keep_openings(layout: Layout, new: Opening | None = None) -> None:
    """Writes the ledger with what was lost of it and with a new opening, unless that model has one on this test split.

    Raises:
        DataError: the ledger is damaged.
    """
    with once(Layout(layout.main_root), "test openings"):
        known = read_openings(layout)
        if new is not None and new.key not in {opening.key for opening in known}:
            followed = {digest for opening in known for digest in opening.previous}
            last = [opening.digest for opening in known if opening.digest not in followed]
            chained = new.model_copy(update={"previous": last})
            known.append(chained.model_copy(update={"digest": chained.sealed()}))
        text = "".join(f"{json.dumps(opening.model_dump())}\n" for opening in known)
        for path in (layout.test_openings, layout.test_openings_copy):
            if text and (not path.is_file() or path.read_bytes() != text.encode()):
                write_text(path, text)


def read_openings(layout: Layout) -> list[Opening]:
    """Every opening, oldest first: those of the file, then those that were appended here and are not in it.

    Raises:
        DataError: a line was cut out or edited, or the file holds a merge conflict.
    """
    place = layout.test_openings
    back = f"`git checkout {place.relative_to(layout.main_root)}` brings back what was committed, evaluate the rest"
    return list((_read(place, back) | _read(layout.test_openings_copy, "delete it")).values())


def opened(layout: Layout, test_digest: str) -> set[tuple[str, str]]:
    """The `key` of each opening of the images that a test split holds, whatever their size and labels were.

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


def _read(path: Path, back: str) -> dict[str, Opening]:
    """The lines of a file by their digests; none where there is none. `back` says how it is mended."""
    found: dict[str, Opening] = {}
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else [], start=1):
        at = f"{path} line {number}"
        if line.startswith((b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")):
            raise DataError(f"{at} is a merge conflict: keep the lines of both sides, delete its marks")
        try:
            opening = Opening.model_validate_json(line)
        except ValueError as error:
            raise DataError(f"{at} was cut or edited: {back}") from error
        if opening.digest != opening.sealed():
            raise DataError(f"{at} was edited, its digest is another one: {back}")
        if not found.keys() >= set(opening.previous):
            raise DataError(f"{at} follows a line that is not there any more: {back}")
        found[opening.digest] = opening
    return found
