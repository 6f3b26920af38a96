import pytest

from podium.config.train import Train
from podium.core.errors import ParamsError
from podium.models.job import apply_values, rescale_schedule
from tests.small_splits import a_config


def test_a_rescaled_schedule_keeps_its_shares():
    recipe = Train(epochs=20, batch_size=8, schedule="step", step_epochs=10, warmup_epochs=2.0, unfreeze_every=5)
    short = rescale_schedule(recipe, 4)
    assert (short.epochs, short.step_epochs, short.warmup_epochs, short.unfreeze_every) == (4, 2, 0.4, 1)
    plain = rescale_schedule(Train(epochs=20, batch_size=8), 4)
    assert (plain.unfreeze_every, plain.cycle_epochs) == (None, None)
    assert rescale_schedule(Train(epochs=50, batch_size=8, cycle_epochs=25), 2).cycle_epochs == 1
    late = Train(epochs=20, batch_size=8, unfreeze_every=19)
    assert rescale_schedule(late, 2).unfreeze_every == 1  # a trial too comes to where the second stage learns


def test_values_of_every_depth_are_replaced_and_the_rest_is_kept():
    changed = apply_values(
        a_config(),
        {"train.batch_size": 16.0, "head.dropout": 0.25, "attention": "se", "train.augment.flip": False},
    )
    assert (changed.train.batch_size, type(changed.train.batch_size)) == (16, int)
    assert (changed.head.dropout, changed.attention, changed.train.augment.flip) == (0.25, "se", False)
    assert changed.train.learning_rate == a_config().train.learning_rate


def test_a_section_that_is_off_is_switched_on_by_a_value_of_it():
    assert a_config().train.augment.randaugment is None
    changed = apply_values(a_config(), {"train.augment.randaugment.magnitude": 7.0})
    assert changed.train.augment.randaugment.magnitude == 7.0


def test_a_value_the_recipe_cannot_take_and_a_key_it_does_not_have_are_named():
    with pytest.raises(ParamsError, match=r"head\.dropout: .*less than 1 \(given 1\.5\): narrow"):
        apply_values(a_config(), {"head.dropout": 1.5})
    with pytest.raises(ParamsError, match=r"'train\.momentun'.*did you mean 'train\.momentum'"):
        apply_values(a_config(), {"train.momentun": 0.5})
