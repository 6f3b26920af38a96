"""What the installed libraries publish, read without network, and which of it may be used."""

import re

import pytest

from podium.config.dataset import Fetch
from podium.config.models import ModelSection
from podium.core.errors import DataError, ModelError, ParamsError
from podium.core.layout import Layout
from podium.models import zoo
from podium.models.zoo.families import family
from podium.pipeline.fetch import write_weights
from podium.weights.published import (
    HubFile,
    check_architecture,
    check_provenance,
    list_published,
    match_weights,
    pretraining_of_enum,
    pretraining_of_tag,
)
from tests.fake_hub import TAG, FakeHub


def test_timms_weights_come_with_their_papers_and_the_default_first() -> None:
    first, *_ = found = list_published("resnet50")
    assert (first.name, first.architecture, first.licence, first.pretraining, first.image_size) == (
        ("resnet50.a1_in1k", "resnet50", "apache-2.0", "in1k", 224)
    )
    assert first.mean == (0.485, 0.456, 0.406) and first.std == (0.229, 0.224, 0.225)
    assert first.place == HubFile("timm/resnet50.a1_in1k", "model.safetensors")
    by_name = {each.name: each for each in found}
    assert by_name["resnet50.fb_swsl_ig1b_ft_in1k"].licence == "cc-by-nc-4.0"
    assert by_name["resnet50.bamboo"].licence == "unknown"
    assert list_published("convnext_tiny")[0].pretraining == "in12k_ft_in1k"


def test_torchvisions_weights_state_no_licence_and_the_newest_comes_first() -> None:
    newest, older = list_published("torchvision/resnet50")
    assert (newest.name, older.name) == ("ResNet50_Weights.IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V1")
    assert newest.architecture == "torchvision/resnet50"
    assert (newest.licence, newest.pretraining, newest.image_size) == ("unknown", "in1k", 224)
    assert newest.place == "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"


def test_googlenet_without_its_transform_wants_values_from_minus_one_to_one() -> None:
    [weights] = list_published("torchvision/googlenet")
    assert (weights.mean, weights.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_weights_without_a_classifier_are_not_offered() -> None:
    assert [each.name for each in list_published("torchvision/vgg16")] == ["VGG16_Weights.IMAGENET1K_V1"]


@pytest.mark.parametrize("architecture", ["cnn", "resnet10t_x", "torchvision/resnet51", "torchvision/raft_large"])
def test_nothing_is_published_for_what_a_library_does_not_classify_with(architecture: str) -> None:
    assert list_published(architecture) == ()


def test_matched_weights_have_seen_the_same_images_at_the_same_size() -> None:
    first, *others = match_weights(["resnet50", "convnext_tiny"])
    assert (first.pretraining, first.image_size) == ("in1k", 224)
    resnets, convnexts = ([each.name for each in choice] for choice in first.choices)
    assert "resnet50.a1_in1k" in resnets and "resnet50.a3_in1k" not in resnets  # trained at 160 px
    assert convnexts == ["convnext_tiny.fb_in1k"]
    assert others == []


def test_weights_of_unequal_size_are_proposed_where_there_are_no_equal_ones() -> None:
    proposals = match_weights(["test_resnet", "torchvision/alexnet"])
    assert [(each.pretraining, each.image_size) for each in proposals] == [("in1k", None)]
    assert [[each.image_size for each in choice] for choice in proposals[0].choices] == [[160], [224]]


def test_an_architecture_without_weights_is_named() -> None:
    with pytest.raises(ModelError, match="no weights are published for architecture 'cnn'"):
        match_weights(["resnet50", "cnn"])


# --- images seen ------------------------------------------------------------------------------------------------------


TAGS = {
    "in1k": "in1k",
    "a1_in1k": "in1k",
    "fb_dist_in1k": "in1k",  # the teacher's images are not the student's
    "in12k_ft_in1k": "in12k_ft_in1k",
    "in12k_ft_in1k_384": "in12k_ft_in1k",  # the size is no set
    "fb_in22k_ft_in1k": "in22k_ft_in1k",
    "augreg_in21k_ft_in1k": "in21k_ft_in1k",
    "clip_laion2b_soup_ft_in12k_in1k_384": "laion2b_ft_in12k_ft_in1k",  # `ft` stands for the first step only
    "fb_swsl_ig1b_ft_in1k": "ig1b_ft_in1k",
    "ns_jft_in1k": "jft_ft_in1k",
    "mae_in1k_ft_in1k": "in1k_ft_in1k",
    "fb_in22k": "in22k",
    "ft_in1k": "unknown",  # of what?
    "fcmae_ft_in1k": "unknown",
    "swag_lc_in1k": "unknown",  # 3.6 billion images that only the method's name tells of
    "bd_ssld_6m_in1k": "unknown",
    "bamboo": "unknown",
    "": "unknown",
}
ENUMS = {
    "IMAGENET1K_V1": "in1k",
    "IMAGENET1K_V2": "in1k",
    "IMAGENET1K_SWAG_E2E_V1": "unknown",
    "COCO_V1": "unknown",
}


@pytest.mark.parametrize(("tag", "expected"), TAGS.items())
def test_a_timm_tag_tells_which_images_were_seen(tag: str, expected: str) -> None:
    assert pretraining_of_tag(tag) == expected


@pytest.mark.parametrize(("member", "expected"), ENUMS.items())
def test_a_torchvision_enum_tells_which_images_were_seen(member: str, expected: str) -> None:
    assert pretraining_of_enum(member) == expected


# --- architectures ----------------------------------------------------------------------------------------------------


WRONG = [
    ("resnet81", ["is not known; did you mean resnet18, "]),
    ("torchvision/vgg17", ["is not known; did you mean ", "torchvision/vgg16"]),
    ("torchvison/vgg16", ["is not known; did you mean torchvision/vgg16, vgg16, "]),
    ("torchvision/convnext_tiny", ["is not known; did you mean convnext_tiny, "]),  # torchvision has it, Podium not
    ("torchvision/raft_large", ["is not known"]),  # finds the flow between two images
    ("timm/resnet18", ["is not known; did you mean ", "resnet18"]),
    ("zzzzqq", ["is not known: `podium models` lists"]),
    ("resnet18.a1_in1k", ["names weights too: write 'resnet18' there"]),
]


@pytest.mark.parametrize(("architecture", "said"), WRONG)
def test_what_cannot_be_built_is_refused_with_the_nearest_names(architecture: str, said: list[str]) -> None:
    with pytest.raises(ParamsError) as caught:
        check_architecture("models.a.architecture", architecture)
    message = str(caught.value)
    assert message.startswith(f"models.a.architecture {architecture!r} ") and "\n" not in message
    for part in said:
        assert part in message
    with pytest.raises(ModelError):  # the zoo agrees
        family(architecture)


@pytest.mark.parametrize("architecture", ["cnn", "resnet18", "torchvision/vgg16", "tv_resnet34"])
def test_what_can_be_built_passes_also_under_an_older_name(architecture: str) -> None:
    check_architecture("models.a.architecture", architecture)
    family(architecture)  # the zoo agrees


def test_everything_that_podium_lists_can_be_asked_for() -> None:
    for architecture in zoo.names():
        check_architecture("models.a.architecture", architecture)


def test_nothing_is_asked_of_the_hub_before_all_architectures_are_known(hub: FakeHub, layout: Layout) -> None:
    layout.weights.mkdir(parents=True)
    models = {"a": ModelSection(architecture="test_resnet", weights=TAG), "b": ModelSection(architecture="resnet81")}
    with pytest.raises(ParamsError, match=r"models\.b\.architecture 'resnet81' is not known; did you mean resnet18"):
        write_weights(layout, layout.weights, models, Fetch(retries=0))
    assert hub.requests == [] and list(layout.weights.iterdir()) == []


# --- licence and pretraining ------------------------------------------------------------------------------------------


ALLOWED = ("apache-2.0", "MIT")


def stated(licence: str | None = None, pretraining: str | None = None) -> ModelSection:
    return ModelSection(
        architecture="resnet18",
        weights="resnet18.a1_in1k",
        weights_licence=licence,
        weights_pretraining=pretraining,
    )


def licence(model: ModelSection, said: str, allowed: tuple[str, ...] = ALLOWED) -> str:
    return check_provenance("a", model, said, "unknown", allowed)[0]


def pretraining(model: ModelSection, said: str) -> str:
    return check_provenance("a", model, "mit", said, ALLOWED)[1]


@pytest.mark.parametrize(
    ("said", "given", "expected"),
    [
        ("Apache-2.0", None, "Apache-2.0"),
        ("apache-2.0", "APACHE-2.0", "apache-2.0"),
        ("unknown", "mit", "mit"),
    ],
)
def test_a_licence_is_the_sources_or_the_keys(said: str, given: str | None, expected: str) -> None:
    assert licence(stated(given), said) == expected


def test_a_licence_that_nobody_states_is_refused_with_the_key_to_write_it_to() -> None:
    for given in (None, "Unknown"):
        with pytest.raises(DataError, match=r"nobody states the licence of resnet18\.a1_in1k.*models\.a\.weights_lic"):
            licence(stated(given), "unknown")


def test_a_licence_that_is_not_listed_is_refused_whoever_states_it() -> None:
    said = re.escape("have licence cc-by-nc-4.0, but fetch.licences_allowed lists apache-2.0, MIT: use other weights")
    for given, source in ((None, "cc-by-nc-4.0"), ("cc-by-nc-4.0", "unknown")):
        with pytest.raises(DataError, match=said):
            licence(stated(given), source)


def test_a_key_never_overrules_the_source() -> None:
    with pytest.raises(ParamsError, match=r"models\.a\.weights_licence is 'mit', but the source .* says 'apache-2.0'"):
        licence(stated("mit"), "apache-2.0")
    with pytest.raises(ParamsError, match=r"models\.a\.weights_pretraining is 'in1k', but .* says 'in22k_ft_in1k'"):
        pretraining(stated(None, "in1k"), "in22k_ft_in1k")


def test_pretraining_may_stay_unknown() -> None:
    assert pretraining(stated(), "unknown") == "unknown"
    assert pretraining(stated(None, "shapes"), "unknown") == "shapes"


def test_unknown_is_never_allowed_even_when_it_is_listed() -> None:
    with pytest.raises(DataError, match="nobody states the licence"):
        licence(stated(), "unknown", ("unknown",))
    with pytest.raises(DataError, match="licences_allowed lists none"):
        licence(stated(), "mit", ())
