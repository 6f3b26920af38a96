"""Names of published weights as statements about images seen. What cannot be told is `unknown`, never guessed."""

import pytest

from podium.sources.weights.pretraining import of_enum, of_tag

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
    assert of_tag(tag) == expected


@pytest.mark.parametrize(("member", "expected"), ENUMS.items())
def test_a_torchvision_enum_tells_which_images_were_seen(member: str, expected: str) -> None:
    assert of_enum(member) == expected
