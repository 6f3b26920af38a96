"""Which licence and which pretraining weights have, who says so, and whether that licence may be used.

The source speaks first; the keys of a model say what the source leaves out and never overrule it. Stands on `core`.
"""

from collections.abc import Sequence

from podium.config.contender import Model
from podium.core.errors import DataError, ParamsError
from podium.sources.weights.pretraining import UNKNOWN


def allowed(licence: str, licences_allowed: Sequence[str]) -> bool:
    """Whether weights of that licence may be used; `unknown` never, capitals do not count."""
    return licence.casefold() != UNKNOWN and licence.casefold() in {each.casefold() for each in licences_allowed}


def licence_of(name: str, model: Model, said: str, licences_allowed: Sequence[str]) -> str:
    """The licence of a model's weights, once it is known to be allowed.

    Args:
        name: of the model.
        model: its section.
        said: what the source says, `unknown` where it says nothing.
        licences_allowed: of section `fetch`.

    Raises:
        ParamsError: the model's key contradicts the source.
        DataError: nobody states a licence, or it is not an allowed one.
    """
    licence = _agreed(f"models.{name}.weights_licence", model.weights_licence, said)
    if licence.casefold() == UNKNOWN:
        raise DataError(
            f"nobody states the licence of {model.weights}, the weights of model {name}: find out and write it to "
            f"models.{name}.weights_licence, or use other weights"
        )
    if not allowed(licence, licences_allowed):
        raise DataError(
            f"{model.weights}, the weights of model {name}, have licence {licence}, but fetch.licences_allowed lists "
            f"{', '.join(licences_allowed) or 'none'}: use other weights, or add it if you may use them"
        )
    return licence


def pretraining_of(name: str, model: Model, said: str) -> str:
    """Which images a model's weights have seen; `unknown` where nobody says.

    Args:
        name: of the model.
        model: its section.
        said: what the source says, `unknown` where it says nothing.

    Raises:
        ParamsError: the model's key contradicts the source.
    """
    return _agreed(f"models.{name}.weights_pretraining", model.weights_pretraining, said)


def _agreed(key: str, given: str | None, said: str) -> str:
    """What the source says, else what the key says."""
    if given is None or given.casefold() == said.casefold():
        return said
    if said.casefold() != UNKNOWN:
        raise ParamsError(f"{key} is {given!r}, but the source of the weights says {said!r}: remove the key")
    return given
