import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.loss import BinaryCrossEntropy
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from podium.config.train import Loss
from podium.core.errors import ParamsError
from podium.models.learner import LOSSES, LossFunction, balanced_weights

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 9 + [3])
GROUPS = ("fruit", "vegetable", "fruit", "")


def batch(seed: int = 0, size: int = 16, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size, classes, generator=random)
    return logits.requires_grad_(), torch.randint(classes, (size,), generator=random)


def of(**changes) -> LossFunction:
    return LossFunction.of(Loss(**{"label_smoothing": 0.0, **changes}), LABELS, GROUPS)


def slopes(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss.sum(), logits)
    return found


# --- cross entropy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_cross_entropy_is_torch_s_with_its_weights_and_its_smoothing(smoothing, class_weights):
    logits, labels = batch()
    weight = torch.from_numpy(balanced_weights(LABELS, 4)).float() if class_weights == "balanced" else None
    expected = F.cross_entropy(logits, labels, weight, label_smoothing=smoothing, reduction="none")
    assert torch.equal(of(label_smoothing=smoothing, class_weights=class_weights)(logits, labels), expected)


def test_balanced_weights_make_classes_count_the_same_and_have_mean_1_over_the_images():
    weights = balanced_weights(LABELS, 4)
    assert weights[LABELS].mean() == pytest.approx(1)
    shares = [weights[label] * (label == LABELS).sum() for label in range(4)]
    assert shares == pytest.approx([25] * 4)


def test_a_class_without_images_has_no_weight_and_spoils_no_other():
    assert balanced_weights(np.array([0, 0, 0, 2]), 3).tolist() == pytest.approx([2 / 3, 0, 2])


# --- focal -----------------------------------------------------------------------------------------------------------


def test_focal_is_the_formula_of_the_paper():
    logits, labels = batch()
    p = torch.softmax(logits.double(), 1)[torch.arange(16), labels]
    expected = -0.25 * (1 - p) ** 2 * torch.log(p)
    torch.testing.assert_close(of(kind="focal", gamma=2.0, alpha=0.25)(logits, labels), expected.float())


def test_focal_of_two_classes_is_torchvision_s_sigmoid_focal_loss():
    z = torch.linspace(-6, 6, 25)
    logits = torch.stack([torch.zeros_like(z), z], 1)  # softmax of (0, z) is the sigmoid of z
    for label in (0, 1):
        labels = torch.full((25,), label)
        found = LossFunction.of(Loss(kind="focal", gamma=1.5, label_smoothing=0.0), labels.numpy(), ("", ""))(
            logits, labels
        )
        torch.testing.assert_close(found, sigmoid_focal_loss(z, labels.float(), alpha=-1, gamma=1.5))


@given(st.integers(0, 10_000), st.sampled_from(["none", "balanced"]))
@settings(max_examples=30)
def test_focal_with_gamma_0_and_alpha_1_is_cross_entropy_exactly_in_value_and_slope(seed, class_weights):
    logits, labels = batch(seed)
    focal = of(kind="focal", gamma=0.0, alpha=1.0, class_weights=class_weights)(logits, labels)
    plain = of(kind="cross_entropy", class_weights=class_weights)(logits, labels)
    assert torch.equal(focal, plain)
    torch.testing.assert_close(slopes(focal, logits), slopes(plain, logits))


def test_focal_with_gamma_0_smooths_labels_as_cross_entropy_does():
    logits, labels = batch()
    settings_ = {"label_smoothing": 0.2, "class_weights": "balanced"}
    torch.testing.assert_close(
        of(kind="focal", gamma=0.0, **settings_)(logits, labels), of(kind="cross_entropy", **settings_)(logits, labels)
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_is_least_where_the_image_s_class_is_certain_and_has_finite_slopes_there(gamma):
    function = of(kind="focal", gamma=gamma)
    labels = torch.zeros(5, dtype=torch.int64)
    logits = torch.tensor([[0.0], [4.0], [30.0], [200.0], [-200.0]]) * torch.tensor([1.0, 0.0, 0.0, 0.0])
    logits.requires_grad_()
    loss = function(logits, labels)
    assert torch.isfinite(loss).all() and torch.isfinite(slopes(loss, logits)).all()
    assert loss[0] > loss[1] > loss[3] == 0 and loss[2] >= loss[3]
    assert (slopes(function(logits, labels), logits)[:2, 0] < 0).all()


def test_focal_slopes_are_those_of_finite_differences():
    logits, labels = batch(size=4)
    function = of(kind="focal", gamma=2.0, label_smoothing=0.1, class_weights="balanced")
    double = LossFunction(function.loss, function.weights.double(), None)
    assert torch.autograd.gradcheck(lambda z: double(z, labels), logits.detach().double().requires_grad_())


# --- binary cross entropies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_is_timm_s_summed_over_classes(smoothing):
    logits, labels = batch()
    expected = BinaryCrossEntropy(smoothing=smoothing, sum_classes=True)(logits, labels)
    torch.testing.assert_close(of(kind="bce", label_smoothing=smoothing)(logits, labels).mean(), expected)


def test_bce_slopes_are_sigmoid_minus_target_whatever_the_number_of_classes():
    for classes in (2, 30):
        logits, labels = batch(classes=classes)
        function = LossFunction.of(Loss(kind="bce", label_smoothing=0.0), labels.numpy(), ("",) * classes)
        expected = torch.sigmoid(logits) - F.one_hot(labels, classes)
        torch.testing.assert_close(slopes(function(logits, labels), logits), expected)


def test_bce_counts_an_image_as_much_as_its_class_weighs():
    logits, labels = batch()
    weight = torch.from_numpy(balanced_weights(LABELS, 4)).float()[labels]
    weighted, plain = of(kind="bce", class_weights="balanced"), of(kind="bce")
    torch.testing.assert_close(weighted(logits, labels), weight * plain(logits, labels))


# --- coarse classes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "bce"])
def test_the_coarse_term_is_the_log_of_the_summed_probability_of_the_coarse_class(kind):
    logits, labels = batch()
    p = torch.softmax(logits.double(), 1)
    sums = torch.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 0] + p[:, 2], p[:, 3]], 1)
    expected = of(kind=kind)(logits, labels) - 0.7 * torch.log(sums[torch.arange(16), labels]).float()
    torch.testing.assert_close(of(kind=kind, group_weight=0.7)(logits, labels), expected, atol=1e-5, rtol=1e-5)


def test_confusing_two_fruits_costs_less_than_taking_a_fruit_for_a_vegetable():
    as_fruit, as_vegetable = torch.tensor([[0.0, 0, 9, 0]]), torch.tensor([[0.0, 9, 0, 0]])
    label = torch.tensor([0])
    assert of()(as_fruit, label) == of()(as_vegetable, label)
    assert of(group_weight=1.0)(as_fruit, label) < of(group_weight=1.0)(as_vegetable, label)


def test_far_logits_stay_finite():
    logits = torch.tensor([[0.0, 300.0, 0.0, 0.0]], requires_grad=True)
    loss = of(group_weight=1.0)(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(300 + 300 - math.log(2), rel=1e-6)
    assert torch.isfinite(slopes(loss, logits)).all()


@pytest.mark.parametrize(("groups", "coarse"), [(("",) * 4, 4), (("fruit",) * 4, 1), (("a", "b", "c", ""), 4)])
def test_a_coarse_term_that_says_no_more_than_the_classes_is_refused(groups, coarse):
    with pytest.raises(ParamsError, match=rf"group_weight is 0\.5, but the 4 classes are in {coarse} coarse classes"):
        LossFunction.of(Loss(group_weight=0.5), LABELS, groups)


def test_the_params_offer_every_loss():
    assert set(get_args(Loss.model_fields["kind"].annotation)) == set(LOSSES)


def test_a_loss_is_one_entry(monkeypatch):
    monkeypatch.setitem(LOSSES, "zero", lambda spec, logits, labels: logits.sum(dim=1) * 0)
    loss = LossFunction.of(Loss().model_copy(update={"kind": "zero"}), np.array([0, 1]), ("", ""))
    assert loss(torch.ones(2, 2), torch.tensor([0, 1])).tolist() == [0, 0]
