"""`podium models`: the list, one architecture in full, weights with equal pretraining."""

import json

import pytest

from podium.models import zoo
from podium.weights.published import list_published
from tests.unit.cli.calls import one_line, podium


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    """Outside any project, in a terminal of usual width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def shown(*arguments):
    done = podium("models", *arguments)
    assert done.exit_code == 0, done.output
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 100
    return done.stdout


def test_every_architecture_of_the_studies_is_listed_with_what_it_costs():
    lines = {line.split()[0]: line.split() for line in shown().splitlines() if line}
    assert set(zoo.STUDIES) <= set(lines)
    assert lines["resnet50"][1:5] == ["25.6", "M", "8.18", "224"]
    assert lines["torchvision/vgg16"][1:4] == ["138.4", "M", "30.94"]
    assert lines["cnn"][-2:] == ["-", "-"]


def test_scripts_read_the_same_list():
    listed = {row["architecture"]: row for row in json.loads(shown("--json"))}
    assert list(listed) == list(zoo.STUDIES)
    row = listed["resnet18"]
    assert (row["parameters"], row["flops"], row["image_size"]) == (11_689_512, 3_628_146_688, 224)
    assert row["weights"] == len(list_published("resnet18"))
    assert row["licences"] == sorted({each.licence for each in list_published("resnet18")})


def test_a_pattern_finds_timm_s_names_and_torchvision_s():
    text = shown("*resnet34")
    assert {"torchvision/resnet34", "resnet34", "seresnet34"} <= {line.split()[0] for line in text.splitlines() if line}
    assert text.count("21.8 M") == 2


def test_many_matches_are_listed_without_being_built():
    text = shown("resnet")
    assert "parameters and FLOPs are shown for at most" in text
    assert "wide_resnet50_2" in text
    rows = json.loads(shown("resnet", "--json"))
    assert {row["flops"] for row in rows} == {None}


def test_one_architecture_is_shown_with_its_units_and_weights():
    text = shown("resnet18")
    assert "11,689,512 with 1,000 classes" in text
    assert "layer4.0 layer4.1" in text
    assert "global_pool fc" in text
    for each in list_published("resnet18"):
        assert f"{each.name} " in text
    document = json.loads(shown("resnet18", "--json"))
    assert document["stages"][-1] == ["global_pool", "fc"]
    assert document["weights"][0]["name"] == "resnet18.a1_in1k"


def test_an_architecture_that_nobody_published_says_so():
    text = shown("cnn")
    assert "features.block4.conv" in text
    assert "No weights are published for it" in text


def test_matched_weights_have_seen_the_same_images():
    text = shown("--matched", "resnet50", "convnext_tiny")
    assert "Pretrained on in1k" in text
    assert "resnet50.a1_in1k " in text
    assert "convnext_tiny.fb_in1k " in text
    assert "in12k" not in text
    proposals = json.loads(shown("--matched", "resnet50", "convnext_tiny", "--json"))
    for proposal in proposals:
        assert set(proposal["weights"]) == {"resnet50", "convnext_tiny"}
        seen = {each["pretraining"] for choices in proposal["weights"].values() for each in choices}
        assert seen == {proposal["pretraining"]}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["resnot50"], 1, "architecture 'resnot50' is not known; did you mean resnet50"),
        (["resnet50.a1_in1k"], 1, "write 'resnet50' there, and the tag in full under weights"),
        (["zzz*"], 1, "architecture 'zzz*' is not known"),
        (["resnet18", "resnet34"], 2, "one architecture or pattern at a time"),
        (["--matched", "resnet50"], 2, "--matched takes two or more architectures"),
        (["--matched", "resnet50", "convnext_tyni"], 1, "did you mean convnext_tiny"),
        (["--matched", "resnet50", "cnn"], 1, "no weights are published for architecture 'cnn'"),
        (["--matched", "convnext_atto", "seresnextaa201d_32x8d"], 1, "have seen the same images"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(arguments, code, message):
    done = podium("models", *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert one_line(done.stderr)
