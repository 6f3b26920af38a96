"""Mixup, cutmix and RandAugment: what is drawn, and what becomes of the images."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, kstest

from podium.config.train import Augment, RandAugment
from podium.data.augment.batch import apply
from podium.data.augment.parameters import OPERATIONS, Augmentation, add_random_operations, draw, unchanged
from tests.unit.data.augmented import images

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
OFF = Augment(flip=False, shift=0, brightness=0, contrast=0)


def drawn(seed: int = 0, count: int = 6, side: int = 24, **mixing: float) -> Augmentation:
    return draw(OFF.model_copy(update=mixing), np.random.default_rng(seed), count, side)


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=25)
def test_mixup_blends_two_images_in_their_share(seed):
    pixels, change = images(6), drawn(seed, mixup=0.8)
    assert sorted(change.partner) == list(range(6))
    assert change.pasted is None
    plain = apply(pixels, unchanged(6), ZERO, ONE)
    share = torch.from_numpy(change.share).float()[:, None, None, None]
    expected = share * plain + (1 - share) * plain[torch.from_numpy(change.partner)]
    torch.testing.assert_close(apply(pixels, change, ZERO, ONE), expected, atol=1e-6, rtol=0)


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=25)
def test_cutmix_pastes_a_box_and_its_share_is_that_of_the_pixels(seed):
    pixels, change = images(6), drawn(seed, cutmix=1.0)
    plain = apply(pixels, unchanged(6), ZERO, ONE)
    ours = apply(pixels, change, ZERO, ONE)
    for n in range(6):
        top, left, height, width = change.pasted[n]
        expected = plain[n].clone()
        box = (slice(None), slice(top, top + height), slice(left, left + width))
        expected[box] = plain[change.partner[n]][box]
        assert torch.equal(ours[n], expected)
        assert min(top, left) >= 0
        assert max(top + height, left + width) <= 24
        assert change.share[n] == 1 - height * width / 24**2
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_shares_follow_the_beta_distribution():
    assert kstest(drawn(count=4000, mixup=0.4).share, beta(0.4, 0.4).cdf).pvalue > 0.001


def test_images_are_mixed_after_all_other_changes():
    pixels = images(6)
    alone = draw(Augment(rotation=20, erasing=0.5), np.random.default_rng(3), 6, 24)
    mixed = replace(alone, partner=np.roll(np.arange(6), 1), share=np.full(6, 0.25))
    result = apply(pixels, alone, ZERO, ONE)
    expected = 0.25 * result + 0.75 * result.roll(1, 0)
    torch.testing.assert_close(apply(pixels, mixed, ZERO, ONE), expected, atol=1e-6, rtol=0)


def test_where_both_are_on_each_batch_gets_one_of_them():
    pasting = [drawn(seed, mixup=0.4, cutmix=1.0).pasted is not None for seed in range(200)]
    assert 70 < sum(pasting) < 130


def randomly(operations: int, magnitude: float, count: int = 400) -> Augmentation:
    settings_ = RandAugment(operations=operations, magnitude=magnitude)
    return add_random_operations(unchanged(count), settings_, np.random.default_rng(0), 100)


# what each operation sets at magnitude 10, and what stands there where it was not drawn
AT_MOST = {
    "rotation": ([-30.0, 30.0], 0.0),
    "shear": ([-0.3, 0.3], 0.0),
    "shift": ([-45, 45], 0),
    "brightness": ([0.1, 1.9], 1.0),
    "contrast": ([0.1, 1.9], 1.0),
    "saturation": ([0.1, 1.9], 1.0),
    "posterize": ([4], 8),
    "solarize": ([0], 256),
    "autocontrast": ([True], False),
    "equalize": ([True], False),
}


def test_every_operation_happens_alone_at_its_magnitude():
    change, used = randomly(1, 10), []
    for name, (values, off) in AT_MOST.items():
        found = getattr(change, name).reshape(400, -1)
        used.append(found != off)
        np.testing.assert_allclose(np.unique(found[used[-1]]).astype(float), values)
    each = np.hstack(used)
    assert each.shape[1] == len(OPERATIONS) - 1  # one is to do nothing
    assert each.sum(axis=1).max() == 1
    expected = 400 / len(OPERATIONS)
    assert (np.abs(each.sum(axis=0) - expected) < 4 * np.sqrt(expected)).all()


def test_without_magnitude_only_operations_that_have_none_act():
    change = randomly(2, 0)
    off = {name: np.full_like(getattr(change, name), values[1]) for name, values in AT_MOST.items()}
    assert all(np.array_equal(getattr(change, name), off[name]) for name in list(AT_MOST)[:8])


def test_operations_add_to_what_was_drawn_before():
    alone = draw(Augment(rotation=10, saturation=0.2), np.random.default_rng(0), 200, 24)
    settings_ = RandAugment(operations=4, magnitude=5)
    change = add_random_operations(alone, settings_, np.random.default_rng(1), 24)
    added = add_random_operations(unchanged(200), settings_, np.random.default_rng(1), 24)
    np.testing.assert_allclose(change.rotation, alone.rotation + added.rotation)
    np.testing.assert_allclose(change.saturation, alone.saturation * added.saturation)
    np.testing.assert_allclose(change.brightness, alone.brightness * added.brightness)
    assert np.array_equal(change.shift, alone.shift + added.shift)
    assert np.abs(added.rotation).max() > 15  # drawn twice for an image, it acts twice
