"""A probe answers as scikit-learn does on the same features, and is a network like any other afterwards."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from podium.config.models import NO_TRAINING, ClassifierKind, Head, ModelConfig, Network
from podium.core.errors import ModelError
from podium.data.augment.batch import normalise
from podium.data.shards import open_for_fitting
from podium.models import zoo
from podium.models.engine import fit
from podium.models.explanations import explain
from podium.models.inference import Classifier
from podium.models.job import ActivationCache
from podium.models.probe import fit_logistic_regression
from tests.cards import a_card
from tests.small_jobs import MEAN, STD, Remembering, job
from tests.small_splits import SIZE, write_prepared, write_split

KINDS: tuple[ClassifierKind, ...] = ("logistic_regression", "nearest_neighbours")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("probe") / "prepared")


def section(classifier: ClassifierKind, architecture: str = "test_resnet", **more: object) -> ModelConfig:
    fields = {"architecture": architecture, "classifier": classifier, "trainable": "head", "train": NO_TRAINING}
    return ModelConfig.model_validate({**fields, **more})


def fitted(prepared, config, cache=None):
    given = job(prepared, NO_TRAINING, section=config, **({"cache": cache} if cache else {}))
    module = given.build()
    return given, module, fit(given, module)


def drawn(classes: int, count: int = 80, width: int = 12):
    random = np.random.default_rng(classes)
    labels = np.arange(count) % classes
    features = random.normal(0, 2, (count, width)) + 3 * random.normal(size=(classes, width))[labels]
    return (features * random.uniform(0.01, 100, width)).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_logistic_regression_gives_the_probabilities_of_scikit_learn(classes, strength):
    features, labels = drawn(classes)
    layer = nn.Linear(features.shape[1], classes)
    fit_logistic_regression(layer, features, labels, strength)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(
        features.astype(np.float64), labels
    )
    with torch.no_grad():
        ours = torch.softmax(layer(torch.from_numpy(features)), dim=1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(features.astype(np.float64)), atol=1e-5)


@pytest.mark.parametrize(("classes", "k"), [(2, 1), (3, 7), (3, 80)])
def test_neighbours_give_the_votes_of_scikit_learn_and_one_that_all_classes_share(classes, k):
    features, labels = drawn(classes)
    train, test = features[:60], features[60:]
    head = zoo.NearestNeighbours(classes)
    head.fit(torch.from_numpy(train), torch.from_numpy(labels[:60]), k)
    asked = min(k, 60)
    theirs = KNeighborsClassifier(asked, metric="cosine").fit(train, labels[:60]).predict_proba(test)
    ours = torch.softmax(head(torch.from_numpy(test)), dim=1).numpy()
    np.testing.assert_allclose(ours, (asked * theirs + 1 / classes) / (asked + 1), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("architecture", "more"),
    [("test_resnet", {}), ("cnn", {}), ("test_vit2", {}), ("test_resnet", {"head": Head(pooling="avgmax")})],
)
def test_the_whole_network_answers_as_its_head_did(kind, architecture, more, prepared):
    given, module, result = fitted(prepared, section(kind, architecture, **more))
    x = normalise(given.val.images(np.arange(12)), MEAN, STD)
    logits = module.eval()(x)
    (row,) = result.progress.history
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(given.val.labels)).item()
    assert row.val_loss == pytest.approx(loss, abs=0.05)  # features are kept as bfloat16
    assert row.val_accuracy == pytest.approx((logits.argmax(1).numpy() == given.val.labels).mean(), abs=0.1)
    assert row.learning_rate is None
    other = zoo.create(given.config, 3, seed=5, side=SIZE)
    other.load_state_dict(result.best)
    torch.testing.assert_close(other.eval()(x), logits, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_backbone_stays_as_it_was_and_the_seed_changes_nothing_else(kind, prepared):
    given, _, result = fitted(prepared, section(kind))
    fresh = zoo.classifier_names(zoo.create(given.config, 3, 0, SIZE))
    first = given.build().state_dict()
    for name, tensor in result.best.items():
        assert name in fresh or torch.equal(tensor, first[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_that_sees_kept_features_gives_the_same_bytes(kind, prepared, tmp_path):
    _, _, without = fitted(prepared, section(kind))
    cache = ActivationCache(tmp_path / "features", 1.0, {})
    for _ in range(2):
        _, _, kept = fitted(prepared, section(kind), cache)
        assert {path.name for path in kept.activations.glob("*.bin")} == {"unchanged-train.bin", "unchanged-val.bin"}
        assert kept.progress.history == without.progress.history
        assert all(torch.equal(kept.best[name], tensor) for name, tensor in without.best.items())


def test_trials_are_told_and_differ_by_what_they_try(prepared):
    losses = []
    for strength in (1e-4, 1.0):
        given = job(prepared, NO_TRAINING, section=section("logistic_regression", C=strength))
        listener = Remembering()
        fit(given, given.build(), [listener])
        losses.append(listener.rows[0].train_loss)
    assert losses[1] < losses[0]


def test_what_needs_gradients_does_not_explain_votes(prepared):
    given, module, _ = fitted(prepared, section("nearest_neighbours"))
    card = a_card(architecture="test_resnet", classifier="nearest_neighbours", mean=MEAN, std=STD)
    card = card.model_copy(update={"preprocessing": given.train.preprocessing})
    classifier, images = Classifier(card, module, given.compute), given.val.images(np.arange(2))
    for name in ("gradcam", "integrated_gradients", "gradient_shap"):
        with pytest.raises(ModelError, match=f"{name} needs gradients, and the votes of m have none: use occlusion"):
            explain(classifier, images, name)
    with pytest.raises(ModelError, match="cam needs a head of average pooling and one linear layer"):
        explain(classifier, images, "cam")
    assert np.isfinite(explain(classifier, images, "occlusion")).all()


def test_a_class_without_an_image_is_named(tmp_path):
    write_prepared(tmp_path / "prepared")
    write_split(tmp_path / "few" / "train", "train", 2, 1)
    given = job(tmp_path / "prepared", NO_TRAINING, section=section("logistic_regression"))
    few = open_for_fitting(tmp_path / "few", "train")
    with pytest.raises(ModelError, match="no training image is of cherry"):
        fit(replace(given, train=few), given.build())


@pytest.mark.parametrize(
    "architecture", ["deit_tiny_distilled_patch16_224", "resnetv2_50x1_bit", "torchvision/googlenet"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_one_linear_last_layer_is_refused(architecture, kind):
    with torch.device("meta"), pytest.raises(ModelError, match="do not come from one linear layer"):
        zoo.create(Network(architecture=architecture, classifier=kind), 3, 0)
