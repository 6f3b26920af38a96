"""Which differences between models make a comparison unfair, and how they are told."""

import pytest

from podium.analysis.conditions import (
    describe,
    describe_differences,
    describe_probes,
    describe_shared,
    find_differences,
    is_comparable,
    read_conditions,
)
from podium.config.train import Distil, Train
from podium.records.evaluation import Conditions
from tests.cards import a_card, no_weights
from tests.measurements import CONDITIONS, some_metrics


def weights(pretraining, sha256="c" * 64):
    return no_weights("resnet18").model_copy(update={"weights": "x.y", "pretraining": pretraining, "sha256": sha256})


def pair(**changed):
    return [some_metrics(model="a"), some_metrics(changed, model="b")]


def test_conditions_are_read_from_the_card():
    found = read_conditions(a_card(pretrained=weights("in1k"), seed=7, tuning_images=60))
    assert found == Conditions(
        image_size=8,
        pretraining="in1k",
        distillation="none",
        images_seen=100,
        tuning_images=60,
        seed=7,
        dtype="float32",
        processes=1,
        train_split="a" * 64,
        val_split="b" * 64,
    )


def test_a_student_is_known_by_its_teacher():
    student = a_card(distil=Distil(teacher="large", temperature=2.0))
    assert read_conditions(student).distillation == "from large"


def test_a_training_that_stopped_early_counts_with_the_images_it_might_have_seen():
    recipe = Train(epochs=50, batch_size=8)
    stopped = a_card(recipe=recipe, epochs=7, images_seen=7 * 30, stopped_early=True)
    whole = a_card(recipe=recipe, epochs=50, images_seen=50 * 30)
    assert read_conditions(stopped).images_seen == read_conditions(whole).images_seen == 1500


def test_unknown_pretraining_is_equal_for_the_same_file_only():
    one, same, other = (read_conditions(a_card(pretrained=weights("unknown", s * 64))).pretraining for s in "ccd")
    assert one == same != other
    assert one.startswith("unknown (file cccc")


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_counts_and_each_can_be_accepted(condition):
    other = "x" if isinstance(CONDITIONS[condition], str) else 2
    (found,) = find_differences(pair(**{condition: other}), {})
    assert (found.condition, found.values) == (condition, {"a": CONDITIONS[condition], "b": other})
    assert not is_comparable([found])
    assert is_comparable(find_differences(pair(**{condition: other}), {condition: "a test"}))


def test_budgets_of_training_are_compared_among_networks_only():
    card = a_card(classifier="nearest_neighbours", recipe=None, learning_rate=None, tuned={"k": 5})
    assert (read_conditions(card).images_seen, read_conditions(card).tuning_images) == (None, None)
    probe = some_metrics({"images_seen": None, "tuning_images": None}, model="p", classifier="nearest_neighbours")
    assert find_differences([probe, *pair()], {}) == []
    (found,) = find_differences([probe, *pair(images_seen=1)], {})
    assert found.values == {"a": CONDITIONS["images_seen"], "b": 1}
    assert describe_shared([probe, *pair()]) == describe_shared(pair())
    assert not any("budget" in phrase or "planned" in phrase for phrase in describe_shared([probe]))


def test_a_reader_is_told_what_a_probe_is():
    probe = some_metrics(model="p", classifier="nearest_neighbours")
    assert describe_probes(pair()) == ""
    assert describe_probes([probe, *pair()]) == (
        "Computed from the features of a frozen network, not trained: p (nearest neighbours); budgets of training and "
        "tuning are compared among the other models."
    )


def test_equal_conditions_give_no_difference_and_no_sentence():
    assert find_differences(pair(), {"seed": "a test"}) == []
    assert is_comparable([])
    assert describe_differences([]) == []


def test_models_with_the_same_value_are_named_together():
    three = [*pair(pretraining="none"), some_metrics(model="c")]
    assert describe(find_differences(three, {})[0]) == "pretraining (in1k: a, c; none: b)"


def test_sentences_tell_what_to_do_and_what_was_accepted():
    said = describe_differences(
        find_differences(
            pair(pretraining="none", images_seen=15120, train_split="e" * 64), {"images_seen": "it is asked for"}
        )
    )
    assert said == [
        "Not comparable: the models differ in pretraining (in1k: a; none: b) and training split "
        "(aaaaaaaaaaaa: a; eeeeeeeeeeee: b).",
        "Make them equal (`podium models --matched ARCHITECTURE...` proposes weights of equal pretraining), "
        "or accept them with a reason: compare.accept: {pretraining: <why>, images_seen: <why>, train_split: <why>}.",
        "Accepted by compare.accept: the models differ in planned training images (7,560: a; 15,120: b), because it is "
        "asked for.",
    ]


def test_what_all_models_share_is_told_with_its_value():
    assert describe_shared(pair(pretraining="none", tuning_images=1)) == [
        "image size 64",
        "planned training images 7,560",
        "seed 0",
        "number format float32",
        "training split",
        "validation split",
    ]
