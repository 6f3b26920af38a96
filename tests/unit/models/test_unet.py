"""A U-Net learns masks, the same from the same seed."""

import numpy as np
import pytest
import torch

from podium.config.train import Train
from podium.core.errors import ModelError
from podium.data.foreground import foreground_masks
from podium.models.unet import UNet, fit_unet, mask_loss
from tests.shapes import draw_discs

UNKNOWN = np.full((4, 4), np.nan)


@pytest.fixture(scope="module")
def learned() -> UNet:
    images, _, truth = draw_discs(4, 32)
    torch.set_num_threads(1)
    unet = UNet("cnn", 32, seed=0)
    fit_unet(unet, images, truth, 0, Train(epochs=60, batch_size=2, learning_rate=3e-3))
    return unet


def test_it_learns_four_pictures_by_heart_and_keeps_to_a_known_box(learned: UNet):
    images, boxes, truth = draw_discs(4, 32)
    found = learned.masks(images, UNKNOWN)
    assert (found & truth).sum() / (found | truth).sum() > 0.95
    assert (learned.masks(images, UNKNOWN, batch_size=1) == found).all()
    boxes[:2, 2:] = boxes[:2, :2] + 8
    boxes[2:] = np.nan
    known = learned.masks(images, boxes)
    assert (known[:2] == found[:2] & foreground_masks(images, boxes)[:2]).all()
    assert (known[2:] == found[2:]).all()


def test_the_same_seed_gives_the_same_weights():
    images, _, truth = draw_discs(4, 32)
    made = []
    for seed in (1, 1, 2):
        unet = UNet("cnn", 32, seed)
        fit_unet(unet, images, truth, seed, Train(epochs=1, batch_size=2))
        made.append(torch.cat([tensor.flatten() for tensor in unet.state_dict().values()]))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


@pytest.mark.parametrize("architecture", ["resnet18", "convnext_atto", "mobilenetv3_small_100"])
def test_its_encoder_is_any_chain_of_the_zoo(architecture: str):
    unet = UNet(architecture, 48, 0).eval()
    assert unet(torch.zeros(1, 3, 48, 48)).shape == (1, 48, 48)


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_what_has_no_such_maps_is_refused(architecture: str):
    with pytest.raises(ModelError, match="no chain of feature maps"):
        UNet(architecture, 224, 0)


def test_the_loss_has_the_value_worked_by_hand():
    logits, wanted = torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]])
    # every pixel ln 2; Dice (2 x 0.5 + 1) / (1 + 1 + 1)
    assert mask_loss(logits, wanted).item() == pytest.approx(0.6931 + 1 - 2 / 3, abs=1e-4)
