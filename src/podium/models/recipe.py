"""Changing a training recipe: tuned values put in, a schedule stretched over fewer epochs. Always checked again."""

from collections.abc import Mapping

from pydantic import ValidationError

from podium.core.config.training import Train
from podium.core.errors import ParamsError, one_line


def is_whole(key: str) -> bool:
    """Whether a key of the recipe takes whole numbers only."""
    return Train.model_fields[key].annotation is int


def with_values(recipe: Train, values: Mapping[str, float]) -> Train:
    """The recipe with some numbers replaced.

    Args:
        recipe: complete.
        values: numbers by recipe key; keys of whole numbers are rounded.

    Returns:
        A new, checked recipe.

    Raises:
        ParamsError: a key is unknown or a value is out of its range.
    """
    whole = {
        key: round(value) if key in Train.model_fields and is_whole(key) else value for key, value in values.items()
    }
    try:
        return Train.model_validate({**recipe.model_dump(), **whole})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ParamsError(
            f"tune.search: {key} = {problem['input']} is not allowed in a recipe ({one_line(problem['msg'])}): "
            "narrow its range"
        ) from error


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
        }
    )
