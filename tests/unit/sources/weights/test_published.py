"""What the installed libraries publish, read without network."""

import pytest

from podium.core.errors import ModelError
from podium.sources.weights.published import HubFile, matched, published


def test_timms_weights_come_with_their_papers_and_the_default_first() -> None:
    first, *_ = found = published("resnet50")
    assert (first.name, first.architecture, first.licence, first.pretraining, first.image_size) == (
        ("resnet50.a1_in1k", "resnet50", "apache-2.0", "in1k", 224)
    )
    assert first.mean == (0.485, 0.456, 0.406) and first.std == (0.229, 0.224, 0.225)
    assert first.place == HubFile("timm/resnet50.a1_in1k", "model.safetensors")
    by_name = {each.name: each for each in found}
    assert by_name["resnet50.fb_swsl_ig1b_ft_in1k"].licence == "cc-by-nc-4.0"
    assert by_name["resnet50.bamboo"].licence == "unknown"
    assert published("convnext_tiny")[0].pretraining == "in12k_ft_in1k"


def test_torchvisions_weights_state_no_licence_and_the_newest_comes_first() -> None:
    newest, older = published("torchvision/resnet50")
    assert (newest.name, older.name) == ("ResNet50_Weights.IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V1")
    assert newest.architecture == "torchvision/resnet50"
    assert (newest.licence, newest.pretraining, newest.image_size) == ("unknown", "in1k", 224)
    assert newest.place == "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"


def test_googlenet_without_its_transform_wants_values_from_minus_one_to_one() -> None:
    [weights] = published("torchvision/googlenet")
    assert (weights.mean, weights.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_weights_without_a_classifier_are_not_offered() -> None:
    assert [each.name for each in published("torchvision/vgg16")] == ["VGG16_Weights.IMAGENET1K_V1"]


@pytest.mark.parametrize("architecture", ["cnn", "resnet10t_x", "torchvision/resnet51", "torchvision/raft_large"])
def test_nothing_is_published_for_what_a_library_does_not_classify_with(architecture: str) -> None:
    assert published(architecture) == ()


def test_matched_weights_have_seen_the_same_images_at_the_same_size() -> None:
    first, *others = matched(["resnet50", "convnext_tiny"])
    assert (first.pretraining, first.image_size) == ("in1k", 224)
    resnets, convnexts = ([each.name for each in choice] for choice in first.choices)
    assert "resnet50.a1_in1k" in resnets and "resnet50.a3_in1k" not in resnets  # trained at 160 px
    assert convnexts == ["convnext_tiny.fb_in1k"]
    assert others == []


def test_weights_of_unequal_size_are_proposed_where_there_are_no_equal_ones() -> None:
    proposals = matched(["test_resnet", "torchvision/alexnet"])
    assert [(each.pretraining, each.image_size) for each in proposals] == [("in1k", None)]
    assert [[each.image_size for each in choice] for choice in proposals[0].choices] == [[160], [224]]


def test_an_architecture_without_weights_is_named() -> None:
    with pytest.raises(ModelError, match="no weights are published for architecture 'cnn'"):
        matched(["resnet50", "cnn"])
