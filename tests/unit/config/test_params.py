"""A mistake in params.yaml is named with its key, what was given, and what to do."""

import copy
from pathlib import Path

import pytest
import yaml

from podium.config.params import load
from podium.core.errors import ParamsError

VALID = yaml.safe_load((Path(__file__).parents[3] / "experiments" / "sample.yaml").read_text())
WIDE = {"low": 0.1, "high": 0.2}
FOLDER = {"source": "folder", "name": "a", "location": "data/a", "licence": "x"}


def write(tmp_path, change):
    values = copy.deepcopy(VALID)
    change(values)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True))
    return path


def set_at(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(values):
        for key in keys:
            values = values[key]
        values[last] = value

    return change


PROBE = {"classifier": "nearest_neighbours"}
TO_TRAIN = "is computed from frozen features, nothing else is trained or searched: remove"


def probe_with(**more):
    def change(values):
        values["models"]["resnet18"] |= {"classifier": "logistic_regression", **more}

    return change


def probe_as_student(values):
    values["models"]["resnet18"] |= PROBE
    values["distil"] = {"resnet18": {"teacher": "convnext_atto"}}


MISTAKES = [
    # a probe has nothing to train: what only means something for a network is refused
    (probe_with(trainable="last_stage"), ["models.resnet18", f"classifier logistic_regression {TO_TRAIN} trainable"]),
    (probe_with(trainable="all"), [f"{TO_TRAIN} trainable"]),
    (probe_with(train={"optimizer": "sgd"}, attention="se"), [f"{TO_TRAIN} attention, train"]),
    (probe_with(head={"dropout": 0.2, "hidden": [8]}), [f"{TO_TRAIN} head.hidden, head.dropout"]),
    (probe_with(warm_start=[{"C": 1.0}]), [f"{TO_TRAIN} warm_start"]),
    (probe_with(search={"train.learning_rate": WIDE}), [f"{TO_TRAIN} search.train.learning_rate"]),
    (probe_with(search={"k": {"choices": [1, 2]}}), [f"{TO_TRAIN} search.k"]),
    (probe_with(search={"C": WIDE}), ["search.C of classifier logistic_regression takes {choices: [...]}"]),
    (probe_with(search={"C": {"choices": [0, 1]}}), ["models.resnet18.search", "C", "greater than 0"]),
    (set_at("models", "resnet18", {"architecture": "resnet18", **PROBE}), ["nearest_neighbours", "name weights"]),
    (set_at("models", "resnet18", "classifier", "svm"), ["models.resnet18.classifier", "logistic_regression"]),
    (set_at("tune", "search", {"C": {"choices": [1, 2]}}), ["tune.search.C is for probes", "(classifier)"]),
    (probe_as_student, ["distil.resnet18: resnet18 is a probe (classifier nearest_neighbours)", "remove it"]),
    (set_at("seeds", [0, 1, 1]), ["seeds: 1 is given twice"]),
    (set_at("seeds", [0, -1]), ["seeds"]),
    # a misspelt key, at the top and deep inside, names the nearest valid one
    (set_at("sede", 1), ["'sede'", "did you mean 'seed'?"]),
    (set_at("train", "epoch", 3), ["'train.epoch'", "did you mean 'epochs'?"]),
    (set_at("train", "augment", "flipp", True), ["'train.augment.flipp'", "did you mean 'flip'?"]),
    (set_at("models", "resnet18", "weigths", "none"), ["'models.resnet18.weigths'", "did you mean 'weights'?"]),
    (set_at("models", "resnet18", "train", {"epoch": 3}), ["'models.resnet18.train.epoch'", "'epochs'"]),
    (set_at("tune", "search", {"lr": {"low": 0.1, "high": 1.0}}), ["tune.search: 'lr' is not a key of a model's"]),
    (
        set_at("tune", "search", {"train.learning_rat": {"low": 0.1, "high": 1.0}}),
        ["'train.learning_rat'", "did you mean 'train.learning_rate'?"],
    ),
    # the right word, but not all of the way to it, and a misspelt word without the way to it
    (set_at("tune", "search", {"learning_rate": WIDE}), ["'learning_rate' is", "did you mean 'train.learning_rate'?"]),
    (set_at("tune", "search", {"train.flip": WIDE}), ["'train.flip' is", "did you mean 'train.augment.flip'?"]),
    (set_at("tune", "search", {"head.kind": WIDE}), ["'head.kind' is", "did you mean 'train.loss.kind'?"]),
    (set_at("tune", "search", {"flipp": WIDE}), ["'flipp' is", "did you mean 'train.augment.flip'?"]),
    (
        set_at("models", "resnet18", "search", {"patience": WIDE}),
        ["models.resnet18.search: 'patience' is", "'train.early_stopping.patience'?"],
    ),
    (
        set_at("tune", "search", {"train.optimizer": {"low": 0.1, "high": 1.0}}),
        ["tune.search.train.optimizer is not a number", "{choices: [...]}"],
    ),
    # params.yaml is committed, so no password may stand in it
    (set_at("resources", "storage", "sftp://ada:secret@host/podium"), ["resources.storage"]),
    (set_at("resources", "storage", "bucket/podium"), ["resources.storage"]),
    # out of range, with the value
    (set_at("train", "epochs", 0), ["train.epochs", "greater than or equal to 1", "0"]),
    (set_at("preprocess", "train", 0.9), ["preprocess", "must be 1", "0.9 + 0.15 + 0.15"]),
    (
        set_at("tune", "search", "train.learning_rate", {"low": 1.0, "high": 0.1}),
        ["tune.search.train.learning_rate: low (1) must be below high (0.1)"],
    ),
    (set_at("tune", "search", "train.learning_rate", {"low": 0.0, "high": 0.1, "log": True}), ["above 0 when log"]),
    (set_at("train", "weight_decay", float("inf")), ["train.weight_decay", "finite number", "inf"]),
    (set_at("dataset", "location", ""), ["dataset.location", "at least 1 character"]),
    # a warm-up that does not end, under the key that was set
    (set_at("train", "warmup_epochs", 6), ["train.warmup_epochs: a warm-up of 6 epochs", "(6 epochs)"]),
    (set_at("models", "resnet18", "train", {"epochs": 1, "warmup_epochs": 2}), ["models.resnet18.train.warmup_epochs"]),
    # stages that would wait for longer than the run; where only the head learns nothing waits
    (set_at("train", "unfreeze_every", 6), ["train.unfreeze_every: the stage", "after 6 epochs", "the run has 6"]),
    (
        set_at("models", "resnet18", "train", {"epochs": 2, "warmup_epochs": 0, "unfreeze_every": 3}),
        ["models.resnet18.train.unfreeze_every: the stage", "after 3 epochs", "the run has 2", "`trainable: head`"],
    ),
    (
        set_at("tune", "search", "train.unfreeze_every", {"low": 1, "high": 6}),
        ["tune.search.train.unfreeze_every: the stage", "after 6 epochs"],
    ),
    (
        set_at("tune", {"trials": 3, "epochs": 2, "startup_trials": 4, "search": {}}),
        ["tune: startup_trials (4) is more than trials (3)", "drawn by chance"],
    ),
    # values that may be tried, but not with one another
    (
        set_at(
            "tune",
            "search",
            {
                "train.sampling": {"choices": ["shuffle", "balanced"]},
                "train.loss.class_weights": {"choices": ["none", "balanced"]},
            },
        ),
        [
            "train.loss.class_weights balanced, train.sampling balanced cannot be tried together",
            "leave one of them out",
        ],
    ),
    (set_at("train", "schedule", "cosine_restarts"), ["schedule is cosine_restarts, but cycle_epochs", "set it"]),
    (set_at("models", "resnet18", "init", "xavier"), ["models.resnet18: init is xavier", "for random weights"]),
    # who learns from whom
    (set_at("distil", {"resnet8": {"teacher": "resnet18"}}), ["distil.resnet8: there is no model", "'resnet18'?"]),
    (
        set_at("distil", {"resnet18": {"teacher": "convnext_ato"}}),
        ["distil.resnet18.teacher: there is no model 'convnext_ato'", "did you mean 'convnext_atto'?"],
    ),
    (set_at("distil", {"resnet18": {"teacher": "resnet18"}}), ["resnet18 cannot be its own teacher"]),
    (
        set_at("distil", {"resnet18": {"teacher": "convnext_atto"}, "convnext_atto": {"teacher": "resnet18"}}),
        ["distil.convnext_atto.teacher: resnet18 is a student itself"],
    ),
    (
        set_at("distil", {"resnet18": {"teacher": "convnext_atto", "weight": 0}}),
        ["distil.resnet18.weight", "greater than 0"],
    ),
    (
        set_at("tune", "search", {"distil.temperature": {"low": 1, "high": 8}}),
        ["is for students", "models.STUDENT.search"],
    ),
    # a range with values that no recipe could take
    (set_at("tune", "search", "train.epochs", {"low": 1, "high": 3}), ["tune.search.train.epochs", "cannot be search"]),
    (set_at("tune", "search", "weights", {"choices": ["none", "a.b"]}), ["tune.search.weights cannot be searched"]),
    (
        set_at("tune", "search", "train.batch_size", {"low": 4.5, "high": 8}),
        ["tune.search.train.batch_size", "whole", "4.5 to 8"],
    ),
    (
        set_at("tune", "search", "train.warmup_epochs", {"low": 0, "high": 6}),
        ["tune.search.train.warmup_epochs: a warm-up of 6"],
    ),
    (
        set_at("models", "resnet18", "search", {"head.dropout": {"low": 0, "high": 1}}),
        ["models.resnet18.search.head.dropout", "less than 1", "1.0", "narrow its range"],
    ),
    (
        set_at("tune", "search", "head.dropout", {"low": 0, "high": float("nan")}),
        ["tune.search.head.dropout.high", "finite"],
    ),
    # choices that are none
    (
        set_at("tune", "search", "attention", {"choices": ["none", "cban"]}),
        ["tune.search.attention: ", "'none', 'se', 'cbam' or 'self'", "'cban'", "correct its choices"],
    ),
    (
        set_at("tune", "search", "attention", {"choices": ["se", "se"]}),
        ["tune.search.attention: choices lists 'se' more than once"],
    ),
    (set_at("tune", "search", "attention", {"choices": ["se"]}), ["tune.search.attention: choices lists 1", "least 2"]),
    (
        set_at("tune", "search", "train.ema_decay", {"choices": [None, 0.9]}),
        ["tune.search.train.ema_decay.choices[0]: takes a finite number, a word or a truth value (given None)"],
    ),
    (
        set_at("models", "resnet18", "search", {"train.ema_decay": {"choices": [0.9, {"low": 1}]}}),
        ["models.resnet18.search.train.ema_decay.choices[1]: takes a finite number, a word or a truth value"],
    ),
    (
        set_at("models", "resnet18", "warm_start", [{"train.learning_rate": None}]),
        ["models.resnet18.warm_start[0].train.learning_rate: takes a finite number, a word or a truth value"],
    ),
    # neither a range nor choices; null leaves a key out where a model says it
    (set_at("tune", "search", "train.learning_rate", [0.1, 1]), ["learning_rate: takes {low, high, log} or {choices:"]),
    (
        set_at("tune", "search", "train.learning_rate", None),
        ["tune.search.train.learning_rate: takes {low, high, log}"],
    ),
    (
        set_at("models", "resnet18", "search", {"train.learning_rat": None}),
        [
            "models.resnet18.search: null leaves a key of tune.search out, but 'train.learning_rat' is not there",
            "did you mean 'train.learning_rate'?",
        ],
    ),
    # what learns
    (
        set_at("models", "resnet18", "trainable", ["layer4", "fc"]),
        ["models.resnet18.trainable: takes all, head, last_"],
    ),
    (set_at("models", "resnet18", "trainable", "layer4"), ["last_stage or {from: layer3} (given 'layer4')"]),
    (set_at("models", "resnet18", "trainable", None), ["last_stage or {from: layer3} (given None)"]),
    (set_at("models", "resnet18", "trainable", {"form": "layer3"}), ["trainable.form'; did you mean 'from'?"]),
    (set_at("models", "resnet18", "trainable", {"from": 3}), ["models.resnet18.trainable.from: ", "takes text"]),
    (
        set_at("tune", "search", "trainable", {"choices": ["head", "layer3"]}),
        ["tune.search.trainable: takes all, head, last_stage or {from: layer3} (given 'layer3')"],
    ),
    (
        set_at("tune", "search", "attention", {"choice": ["se"]}),
        ["'tune.search.attention.choice'", "did you mean 'choices'?"],
    ),
    (
        set_at("tune", "search", "head.hidden", {"choices": [[64], [128]]}),
        ["tune.search.head.hidden"],
    ),
    (set_at("tune", "search", "head", {"choices": ["a", "b"]}), ["tune.search.head"]),
    # a warm start that the study would not search
    (
        set_at("models", "resnet18", "warm_start", [{"train.learning_rate": 1.0e-3}, {"train.learning_rat": 1.0}]),
        ["models.resnet18.warm_start[1]: 'train.learning_rat' is not searched", "did you mean 'train.learning_rate'?"],
    ),
    (
        set_at("models", "resnet18", "warm_start", [{"train.learning_rate": 0.5}]),
        ["models.resnet18.warm_start[0]: train.learning_rate = 0.5 lies outside"],
    ),
    (set_at("promote", "minimum_accuracy", 80), ["promote.minimum_accuracy", "80"]),
    # a choice
    (set_at("dataset", "source", "kagle"), ["dataset.source: 'kagle' is none of sample, folder, ", "mean 'kaggle'?"]),
    (set_at("dataset", {"location": "data/a"}), ["key 'dataset.source' is missing"]),
    # each kind of source knows its own keys, also inside a merge; a misspelt key goes before the missing one it meant
    (
        set_at("dataset", {"source": "folder", "locatoin": "data/a", "licence": "x"}),
        ["unknown key 'dataset.locatoin'; did you mean 'location'?", "(and 1 more)"],
    ),
    (
        set_at("dataset", {"source": "folder", "location": "data/a", "licence": "x", "columns": {}}),
        ["unknown key 'dataset.columns' (valid keys: ", "location"],
    ),
    (
        set_at("dataset", {"source": "csv", "location": "a", "licence": "x", "columns": {"box": {"letf": "x"}}}),
        ["'dataset.columns.box.letf'; did you mean 'left'? (valid keys: left, top, right, bottom)"],
    ),
    (
        set_at("dataset", {"source": "merge", "parts": [FOLDER, {**FOLDER, "name": "b", "locatoin": "x"}]}),
        ["'dataset.parts[1].locatoin'; did you mean 'location'?"],
    ),
    (
        set_at("dataset", {"source": "merge", "parts": [FOLDER, {"source": "merge"}]}),
        ["dataset.parts[1].source: 'merge' is none of sample, folder"],
    ),
    (set_at("dataset", {"source": "merge", "parts": [FOLDER]}), ["dataset.parts", "at least 2"]),
    (set_at("dataset", {"source": "merge", "parts": [FOLDER, FOLDER]}), ["parts[1]: the name 'a' stands twice"]),
    (
        set_at("dataset", {"source": "merge", "parts": [FOLDER, {k: v for k, v in FOLDER.items() if k != "name"}]}),
        ["parts[1] has no name"],
    ),
    # a digest where there is no one file; a dataset of kaggle.com that is none; a label map with a class twice
    (set_at("dataset", {**FOLDER, "sha256": "0" * 64}), ["set it to null for source `folder`"]),
    (set_at("dataset", {**FOLDER, "source": "kaggle", "location": "vegetables"}), ["`owner/dataset/versions/N`"]),
    (
        set_at("dataset", {**FOLDER, "labels": {"a": ["x"], "b": ["x"]}}),
        ["labels lists 'x' more than once (under a, b)"],
    ),
    (set_at("dataset", {**FOLDER, "labels": {"a": []}}), ["labels.a lists no class"]),
    (set_at("dataset", {**FOLDER, "labels": {"a": [3]}}), ["dataset.labels.a[0]: ", "takes text", "3"]),
    (set_at("dataset", {**FOLDER, "source": "openimages", "labels": {}}), ["dataset.labels"]),
    # a number or a mapping: the branch that fits what was given is told, and nothing of the other
    (set_at("dataset", "limit_per_class", 0), ["dataset.limit_per_class: ", "greater than or equal to 1 (given 0)"]),
    (
        set_at("dataset", "limit_per_class", {"trian": 3}),
        ["dataset.limit_per_class.trian: ", "'train', 'val' or 'test'"],
    ),
    (set_at("dataset", "limit_per_class", {"val": 0}), ["dataset.limit_per_class.val: ", "(given 0)"]),
    # words about weights that there are none of
    (
        set_at("models", "resnet18", "weights", "none"),
        ["models.resnet18: weights_sha256, weights_pretraining tells of weights, but weights is `none`: remove it"],
    ),
    (
        set_at("models", "resnet18", {"architecture": "resnet18", "weights_licence": "mit"}),
        ["models.resnet18: weights_licence tells of weights, but weights is `none`"],
    ),
    # weights that are not pinned
    (set_at("models", "resnet18", {"architecture": "resnet18", "weights": "data:w"}), ["weights_sha256 is missing"]),
    (
        set_at("models", "resnet18", {"architecture": "resnet18", "weights": "w.pth"}),
        ["`none`", "a timm tag in full", "'w.pth'"],
    ),
]


@pytest.mark.parametrize(("change", "expected"), MISTAKES)
def test_a_mistake_is_named_in_one_line(tmp_path, change, expected):
    with pytest.raises(ParamsError) as caught:
        load(write(tmp_path, change))
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("seed", "seeds", "further"),
    [(0, None, ()), (1, [], ()), (1, [1], ()), (0, [0, 1, 2], (1, 2)), (3, [0, 1], (0, 1))],
)
def test_every_model_is_trained_with_seed_and_with_each_of_seeds(tmp_path, seed, seeds, further):
    def change(values):
        values["seed"] = seed
        values.pop("seeds") if seeds is None else values.update(seeds=seeds)

    assert load(write(tmp_path, change)).further_seeds == further


def test_a_missing_section_is_named(tmp_path):
    with pytest.raises(ParamsError, match="key 'train' is missing"):
        load(write(tmp_path, lambda v: v.pop("train")))


def test_broken_yaml_names_the_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: [1\nmodels: 2\n")
    with pytest.raises(ParamsError, match="line 2") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="run from the project's root"):
        load(tmp_path / "params.yaml")


def test_a_models_own_recipe_lies_on_top_of_the_common_one(tmp_path):
    params = load(write(tmp_path, set_at("models", "resnet18", "train", {"optimizer": "sgd", "epochs": 2})))
    own = params.complete("resnet18")
    assert (own.architecture, own.train.optimizer, own.train.epochs) == ("resnet18", "sgd", 2)
    assert params.complete("convnext_atto").train.optimizer == params.train.optimizer == "adamw"


def test_a_models_own_recipe_keeps_the_rest_of_a_section_it_changes(tmp_path):
    changed = {"loss": {"kind": "focal"}, "augment": {"randaugment": {"magnitude": 3}}, "early_stopping": None}
    params = load(write(tmp_path, set_at("models", "resnet18", "train", changed)))
    own, common = params.complete("resnet18").train, params.train
    assert own.loss == common.loss.model_copy(update={"kind": "focal"})
    assert own.augment.randaugment is not None and own.augment.shift == common.augment.shift
    assert (own.early_stopping, common.early_stopping is None) == (None, False)


def test_a_model_s_own_ranges_lie_on_top_of_the_common_ones(tmp_path):
    params = load(write(tmp_path, set_at("models", "resnet18", "search", {"attention": {"choices": ["none", "se"]}})))
    assert sorted(params.search("resnet18")) == ["attention", "train.learning_rate"]
    assert sorted(params.search("convnext_atto")) == ["train.learning_rate"]


def test_a_probe_tries_its_grid_in_turn_whatever_networks_search(tmp_path):
    params = load(write(tmp_path, set_at("models", "resnet18", "classifier", "logistic_regression")))
    assert params.tune.trials == 3
    assert [values["C"] for values in params.warm_start("resnet18")] == [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]
    assert params.search("resnet18")["C"].choices == (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
    study = params.study("resnet18")
    assert (study.trials, study.epochs, study.pruner, study.together) == (6, 1, "none", 1)
    assert params.study("convnext_atto") == params.tune
    own = {"classifier": "nearest_neighbours", "trainable": "head", "search": {"k": {"choices": [2, 4]}}}
    params = load(write(tmp_path, lambda values: values["models"]["resnet18"].update(own)))
    assert params.warm_start("resnet18") == ({"k": 2}, {"k": 4})
    config = params.complete("resnet18")
    assert (config.is_probe, config.trainable, config.train.epochs) == (True, "head", 1)


def test_a_model_leaves_a_common_range_out_with_null(tmp_path):
    common = {"train.learning_rate": WIDE, "train.weight_decay": WIDE}
    own = {"train.learning_rate": None, "head.dropout": WIDE}

    def change(values):
        values["tune"]["search"] = common
        values["models"]["resnet18"]["search"] = own

    params = load(write(tmp_path, change))
    assert sorted(params.search("resnet18")) == ["head.dropout", "train.weight_decay"]
    assert sorted(params.search("convnext_atto")) == sorted(common)


def test_what_is_left_out_is_neither_checked_for_that_model_nor_open_to_a_warm_start(tmp_path):
    def change(values):
        values["tune"]["search"] = {"train.warmup_epochs": {"low": 0, "high": 3}}
        values["models"]["resnet18"] |= {"train": {"epochs": 2}, "search": {"train.warmup_epochs": None}}

    assert load(write(tmp_path, change)).search("resnet18") == {}

    def warm(values):
        change(values)
        values["models"]["resnet18"]["warm_start"] = [{"train.warmup_epochs": 1}]

    with pytest.raises(ParamsError, match=r"warm_start\[0\]: 'train.warmup_epochs' is not searched"):
        load(write(tmp_path, warm))


def test_a_common_range_that_every_model_leaves_out_is_still_one_of_a_key(tmp_path):
    def change(values):
        values["tune"]["search"] = {"train.learning_rat": WIDE}
        for model in values["models"].values():
            model["search"] = {"train.learning_rat": None}

    with pytest.raises(ParamsError, match="tune.search: 'train.learning_rat' is not a key of a model's section"):
        load(write(tmp_path, change))


@pytest.mark.parametrize(
    "change",
    [
        set_at("train", "unfreeze_every", 5),
        set_at("models", {"a": {"architecture": "resnet18", "trainable": "head", "train": {"unfreeze_every": 9}}}),
        set_at("models", {"a": {"architecture": "vgg", "trainable": {"from": "x"}, "train": {"unfreeze_every": 9}}}),
        set_at("tune", {"trials": 2, "epochs": 2, "startup_trials": 2, "search": {}}),
        set_at("tune", {"trials": 1, "epochs": 2, "search": {}}),  # to try the rest out
    ],
)
def test_what_only_looks_too_long_is_taken(tmp_path, change):
    load(write(tmp_path, change))


def test_choices_and_warm_starts_have_the_types_of_their_keys(tmp_path):
    """YAML reads 1e-4 as text, 1 as a whole number and `yes` as a truth value."""

    def change(values):
        values["tune"]["search"] = {
            "train.learning_rate": {"choices": ["1e-4", 1, 0.5]},
            "train.batch_size": {"choices": [8.0, "16"]},
            "train.augment.flip": {"choices": [True, False]},
        }
        values["models"]["resnet18"]["warm_start"] = [{"train.learning_rate": "1e-4", "train.batch_size": 16.0}]

    params = load(write(tmp_path, change))
    choices = {key: span.choices for key, span in params.search("resnet18").items()}
    assert repr(choices["train.learning_rate"]) == "(0.0001, 1.0, 0.5)"
    assert repr(choices["train.batch_size"]) == "(8, 16)"
    assert choices["train.augment.flip"] == (True, False)
    (warm,) = params.warm_start("resnet18")
    assert warm == {"train.learning_rate": 0.0001, "train.batch_size": 16}
    assert type(warm["train.batch_size"]) is int


def test_numbers_written_the_way_yaml_reads_as_text_are_numbers(tmp_path):
    params = load(write(tmp_path, set_at("train", "learning_rate", "1e-4")))
    assert params.train.learning_rate == 1e-4


def test_an_unknown_model_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(ParamsError, match="did you mean 'resnet18'"):
        load(write(tmp_path, lambda v: None)).model("resnet81")


def test_params_cannot_be_changed_after_loading(tmp_path):
    params = load(write(tmp_path, lambda v: None))
    with pytest.raises(ValueError, match="frozen"):
        params.train.epochs = 99


QUOTED = "put quotes around it, as in "
WORDS = {
    "labels: {yes: [Man], other: [Dog]}": f'YAML reads yes, on and true as a truth value: {QUOTED}"yes"',
    "labels: {person: [Man, no]}": f'YAML reads no, off and false as a truth value: {QUOTED}"no"',
    "labels: {on: [Man]}": QUOTED,
    "labels: {1: [one]}": f'YAML reads 1 as a number: {QUOTED}"1"',
    "labels: {one: [1, 2]}": f'YAML reads 1 as a number: {QUOTED}"1"',
    "labels: {x: [1.5]}": f'YAML reads 1.5 as a number: {QUOTED}"1.5"',
    "groups: {no: drink}": f'{QUOTED}"no"',
    "groups: {apple: 2024-01-31}": f'YAML reads 2024-01-31 as a date: {QUOTED}"2024-01-31"',
}


@pytest.mark.parametrize(("keys", "said"), WORDS.items(), ids=WORDS)
def test_a_class_name_that_yaml_takes_for_something_else_is_to_be_quoted(tmp_path, keys, said):
    path = write(tmp_path, set_at("dataset", {"source": "folder", "location": "data/a", "licence": "x"}))
    path.write_text(path.read_text().replace("dataset:\n", f"dataset:\n  {keys}\n"))

    with pytest.raises(ParamsError) as caught:
        load(path)

    assert "dataset" in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [("seed: 1\n", "seed"), ("train:\n  epochs: 1\n", "train"), ("extra: {a: 1, b: 2,\n a: 3}\n", "a")],
    ids=["at the top", "a section", "within one"],
)
def test_a_key_given_twice_is_refused_with_both_lines(tmp_path, text, key):
    path = write(tmp_path, lambda values: None)
    path.write_text(path.read_text() + text)

    with pytest.raises(ParamsError, match=rf"params.yaml: key '{key}' is given twice, in lines \d+ and \d+: keep one"):
        load(path)
