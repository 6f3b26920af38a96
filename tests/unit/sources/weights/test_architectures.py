"""A misspelt architecture is met before anything is downloaded, by the same names that networks are built from."""

import subprocess
import sys
from pathlib import Path

import pytest

from podium.config.contender import Model
from podium.config.dataset import Fetch
from podium.core.errors import ModelError, ParamsError
from podium.core.layout import Layout
from podium.models import zoo
from podium.models.zoo.families import family
from podium.sources.weights import architectures
from podium.sources.weights.architectures import check_architecture, names
from podium.sources.weights.storing import write_weights
from tests.fake_hub import TAG, FakeHub


def test_the_sources_name_what_the_libraries_build() -> None:
    assert set(names()) == set(zoo.names())


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


@pytest.mark.parametrize(
    ("architecture", "known"),
    [
        ("resnet18", True),
        ("torchvision/vgg16", True),
        ("torchvision/squeezenet1_1", False),
        ("torchvision/vgg17", False),
    ],
)
def test_without_sources_the_libraries_are_asked(
    architecture: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "names", lambda: ("cnn",))
    if known:
        check_architecture("models.a.architecture", architecture)
    else:
        with pytest.raises(ParamsError, match="is not known"):
            check_architecture("models.a.architecture", architecture)


def test_nothing_is_asked_of_the_hub_before_all_architectures_are_known(hub: FakeHub, layout: Layout) -> None:
    layout.weights.mkdir(parents=True)
    models = {"a": Model(architecture="test_resnet", weights=TAG), "b": Model(architecture="resnet81")}
    with pytest.raises(ParamsError, match=r"models\.b\.architecture 'resnet81' is not known; did you mean resnet18"):
        write_weights(layout, layout.weights, models, Fetch(retries=0))
    assert hub.requests == [] and list(layout.weights.iterdir()) == []


LIGHT = """
import sys
from pathlib import Path
from podium.config.contender import Model
from podium.config.dataset import Fetch
from podium.core.layout import Layout
from podium.sources.weights.storing import write_weights
root = Path(sys.argv[1])
names = ("cnn", "resnet18", "convnext_atto", "torchvision/googlenet")
write_weights(Layout(root), root, {f"m{n}": Model(architecture=name) for n, name in enumerate(names)}, Fetch())
print(*sys.modules.keys() & {"torch", "timm", "torchvision"})
"""


def test_random_weights_need_no_heavy_library(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIGHT, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"
