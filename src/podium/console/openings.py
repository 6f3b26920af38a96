"""The ledger of the test split: for which model it was opened, what for, when, by whom.

A line a model and test split, appended before the first answer is computed: an evaluation that was killed has looked,
too. A line holds its own digest and those of the lines that were last before it (of more than one after a merge of two
branches), so that a line which was cut out or edited is noticed; git keeps the file. Nothing is computed from it.
"""

from dataclasses import dataclass
from math import log, sqrt

from pydantic import Field

from podium.console.process import once, utc_now, whoami
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.records.chain import ChainedRecord, read_chain, write_chain
from podium.records.evaluation import Leaderboard


class Opening(ChainedRecord):
    """One line. `when` is UTC in ISO 8601; `images` names which images the split holds, whatever their size."""

    when: str = Field(default_factory=utc_now)
    who: str = Field(default_factory=whoami)
    purpose: str
    fingerprint: str
    test_digest: str
    images: str

    @property
    def key(self) -> tuple[str, str]:
        """What is counted: one model on one state of the test split."""
        return self.fingerprint, self.test_digest


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
            known.append(new.after(known))
        for path in (layout.test_openings, layout.test_openings_copy):
            write_chain(path, known)


def read_openings(layout: Layout) -> list[Opening]:
    """Every opening, oldest first: those of the file, then those that were appended here and are not in it.

    Raises:
        DataError: a line was cut out or edited, or the file holds a merge conflict.
    """
    place = layout.test_openings
    back = f"`git checkout {place.relative_to(layout.main_root)}` brings back what was committed, evaluate the rest"
    here = read_chain(layout.test_openings_copy, Opening, "delete it")
    return list((read_chain(place, Opening, back) | here).values())


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
