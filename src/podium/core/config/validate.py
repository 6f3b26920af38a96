"""Params section `validate`: one entry per expectation on the prepared dataset."""

from typing import Annotated

from pydantic import Field

from podium.core.config.base import PositiveInt, Section, Severity


class Expectation(Section):
    """What happens when an expectation fails: `critical` stops the DAG, `warning` is reported."""

    severity: Severity


class AtLeast(Expectation):
    """An expectation with a lower bound."""

    minimum: PositiveInt


class AtMost(Expectation):
    """An expectation with an upper bound."""

    maximum: Annotated[float, Field(ge=0)]


class Validate(Section):
    """One entry per expectation on the prepared manifest."""

    columns: Expectation
    classes_in_every_split: Expectation
    minimum_rows: AtLeast
    class_balance: AtMost
    image_in_one_split: Expectation
    duplicates_in_one_split: Expectation
    image_side: AtLeast
    share_rejected: AtMost
