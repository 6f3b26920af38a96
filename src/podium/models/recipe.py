"""Changing a contender: tuned values put in, a schedule stretched over fewer epochs. Always checked again."""

from collections.abc import Mapping

from pydantic import ValidationError

from podium.config import dotted
from podium.config.contender import Contender
from podium.config.problems import first_problem
from podium.config.recipe import Train
from podium.config.tuning import Value
from podium.core.errors import ParamsError


def with_values(contender: Contender, values: Mapping[str, Value]) -> Contender:
    """The contender with some values replaced.

    Args:
        contender: complete.
        values: by dotted key; numbers of whole-number keys are rounded.

    Returns:
        A new, checked contender.

    Raises:
        ParamsError: a key is unknown or a value is out of its range.
    """
    try:
        return dotted.with_values(contender, values)
    except ValidationError as error:
        raise ParamsError(f"{first_problem(error, Contender, 'tune.search')}: narrow what is searched") from error


def stretched(recipe: Train, epochs: int) -> Train:
    """The same course of the learning rate over another number of epochs: warm-up and steps keep their share.

    Args:
        recipe: complete.
        epochs: wanted, at least 1.

    Returns:
        A recipe for `epochs` epochs.
    """
    share = epochs / recipe.epochs
    return recipe.model_copy(
        update={
            "epochs": epochs,
            "warmup_epochs": recipe.warmup_epochs * share,
            "step_epochs": max(1, round(recipe.step_epochs * share)),
            # at least one more stage joins in, or all trials would try the head alone
            "unfreeze_every": recipe.unfreeze_every and max(1, min(round(recipe.unfreeze_every * share), epochs - 1)),
        }
    )
