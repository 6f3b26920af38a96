import math

import pytest
import timm
import torch
from torch import nn

from podium.config.models import Head, Network
from podium.core.errors import ModelError
from podium.data.tensors import save_weights
from podium.models import zoo
from podium.models.blocks import find_blocks
from podium.models.zoo import families


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def test_first_weights_are_a_function_of_the_seed_and_leave_global_state_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a = zoo.create(Network(architecture="test_resnet"), 3, 1).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    b = zoo.create(Network(architecture="test_resnet"), 3, 1).state_dict()
    c = zoo.create(Network(architecture="test_resnet"), 3, 2).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["conv1.0.weight"], c["conv1.0.weight"])


def test_an_unknown_architecture_is_refused_with_the_nearest_names():
    with pytest.raises(ModelError, match=r"'resnet81' is not known; did you mean .*resnet18"):
        zoo.create(Network(architecture="resnet81"), 3, 0)
    with pytest.raises(ModelError, match=r"'alexnet' is not known; did you mean torchvision/alexnet"):
        zoo.create(Network(architecture="alexnet"), 3, 0)
    with pytest.raises(ModelError, match=r"'torchvision/resnet20' is not known; did you mean .*torchvision/resnet"):
        zoo.create(Network(architecture="torchvision/resnet20"), 3, 0)


def test_a_tag_of_weights_is_no_architecture():
    with pytest.raises(
        ModelError, match=r"write 'resnet50' there, and the tag in full under weights: resnet50\.a1_in1k"
    ):
        zoo.create(Network(architecture="resnet50.a1_in1k"), 3, 0)


def test_one_name_space_holds_all_families():
    known = zoo.names()
    assert known[0] == "cnn"
    assert set(zoo.STUDIES) <= set(known)
    assert len(known) == len(set(known))
    assert {"torchvision/alexnet", "torchvision/vgg16_bn", "torchvision/resnext50_32x4d"} <= set(known)
    assert not any("." in name for name in known)


def test_a_pattern_finds_architectures_of_all_families():
    assert zoo.matching("*resnet152") == ["torchvision/resnet152", "legacy_seresnet152", "resnet152", "seresnet152"]
    assert zoo.matching("googlenet") == ["torchvision/googlenet"]
    assert zoo.matching("resnet50.a1_in1k") == []


@pytest.mark.parametrize(
    ("architecture", "side"), [("cnn", 64), ("torchvision/vgg16", 224), ("test_resnet", 160), ("tv_resnet34", 224)]
)
@pytest.mark.filterwarnings("ignore:Mapping deprecated model name:UserWarning")  # tv_resnet34 has a newer name
def test_every_architecture_has_a_usual_image_size(architecture, side):
    assert zoo.image_size(architecture) == side
    figures = zoo.figures(architecture)
    assert figures.flops == zoo.flops(zoo.build_on_meta(architecture), side)


@pytest.mark.parametrize(
    ("architecture", "side", "layers"),
    [
        ("tf_efficientnet_lite0", 64, 1),  # timm's own rule reaches 1 / sqrt(classes)
        ("mobilenetv3_small_050", 64, 1),
        ("test_vit", 160, 1),
        ("deit_tiny_distilled_patch16_224", 224, 2),
        ("dla46_c", 64, 1),  # a convolution
        ("levit_128s", 224, 2),  # with a norm of its own
        ("torchvision/googlenet", 64, 3),
    ],
)
def test_every_classifier_is_drawn_as_torch_draws_linear_layers(architecture, side, layers):
    module = zoo.create(Network(architecture=architecture), 5, 0)
    drawn = [
        part for part in module.modules() if 5 in (getattr(part, "out_features", 0), getattr(part, "out_channels", 0))
    ]
    assert len(drawn) == layers
    for layer in drawn:
        limit = layer.weight.shape[1] ** -0.5
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)
        assert layer.weight.abs().max() <= limit
        assert 0 < layer.bias.abs().max() <= limit
    with torch.no_grad():
        logits = module(torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0)))
    loss = nn.functional.cross_entropy(logits if layers < 3 else logits[0], torch.arange(4))
    assert loss.item() == pytest.approx(math.log(5), abs=0.4)


def body(classes: int = 7, seed: int = 9) -> dict[str, torch.Tensor]:
    """Weights of another network of the same architecture, in half precision, without its head."""
    state = zoo.create(Network(architecture="test_convnext"), classes, seed).state_dict()
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items() if not k.startswith("head.fc.")}


def test_pretrained_weights_are_widened_and_the_head_stays_fresh(tmp_path):
    save_weights(tmp_path / "w.safetensors", body(), {})
    module, fresh = (zoo.create(Network(architecture="test_convnext"), 3, 0) for _ in range(2))
    zoo.load_pretrained(module, tmp_path / "w.safetensors")
    given = body()
    for name, tensor in module.state_dict().items():
        expected = fresh.state_dict()[name] if name.startswith("head.fc.") else given[name].float()
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected), name


def test_the_head_of_the_file_is_not_taken_over(tmp_path):
    full = zoo.create(Network(architecture="test_convnext"), 3, 9).state_dict()
    save_weights(tmp_path / "w.safetensors", full, {})
    module = zoo.create(Network(architecture="test_convnext"), 3, 0)
    zoo.load_pretrained(module, tmp_path / "w.safetensors")
    assert not torch.equal(module.state_dict()["head.fc.weight"], full["head.fc.weight"])
    assert torch.equal(module.state_dict()["stem.0.weight"], full["stem.0.weight"])


def without(name: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in body().items() if k != name}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (without("stem.0.bias"), "stem.0.bias is missing"),
        ({**body(), "extra.weight": torch.zeros(2)}, "extra.weight is unknown"),
        ({**body(), "stem.0.bias": torch.zeros(2)}, r"stem.0.bias is \(2,\) instead of \(\d+,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, tensors, message):
    save_weights(tmp_path / "w.safetensors", tensors, {})
    with pytest.raises(ModelError, match=message):
        zoo.load_pretrained(zoo.create(Network(architecture="test_convnext"), 3, 0), tmp_path / "w.safetensors")


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        zoo.load_pretrained(zoo.create(Network(architecture="test_convnext"), 3, 0), tmp_path / "w.safetensors")


def test_normalisation_is_what_timm_lists():
    assert zoo.normalisation("test_resnet") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    known = timm.get_pretrained_cfg("resnet18")
    assert zoo.normalisation("resnet18") == (known.mean, known.std)
    assert zoo.normalisation("cnn") == zoo.normalisation("torchvision/vgg16") == (known.mean, known.std)


def test_flops_are_two_per_multiply_add_and_grow_with_the_area():
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    assert zoo.flops(module, 10) == 2 * (10 * 10 * 8 * 3 * 9 + 8 * 5)
    assert zoo.count_parameters(module) == 8 * 27 + 8 + 8 * 5 + 5
    network = zoo.create(Network(architecture="test_resnet"), 3, 0)
    assert zoo.flops(network, 64) > 3 * zoo.flops(network, 32)
    assert network.training


def test_a_size_the_network_cannot_take_is_refused():
    with pytest.raises(ModelError, match=r"does not take images of 50 px.*preprocess\.image_size"):
        zoo.flops(zoo.create(Network(architecture="test_vit"), 3, 0), 50)


def test_attention_is_counted_and_the_device_does_not_matter():
    network = Network(architecture="test_vit")
    with torch.device("meta"):
        counted = zoo.flops(zoo.create(network, 3, 0), 160)
    assert zoo.flops(zoo.create(network, 3, 0), 160) == counted
    linear = 2 * sum(part.weight.numel() for part in zoo.create(network, 3, 0).modules() if isinstance(part, nn.Linear))
    assert counted > linear * (160 // 16) ** 2  # linear layers alone, at every one of 100 patches


def test_the_baseline_halves_the_image_four_times():
    module = zoo.create(Network(architecture="cnn", head=Head(dropout=0.5)), 3, 0)
    assert module.features(torch.zeros(1, 3, 64, 48)).shape == (1, 256, 4, 3)
    assert module(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    assert module.drop.p == 0.5
    with pytest.raises(ModelError, match="does not take images of 15 px"):
        zoo.flops(module, 15)


class Own(families.Family):
    prefix = "own/"

    def names(self):
        return ("line",)

    def whole(self, name, classes, dropout, side):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))

    def features(self, name, side):
        raise NotImplementedError

    def image_size(self, name):
        return 8


def test_a_family_is_a_class_and_one_entry(monkeypatch):
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, Own()))
    assert zoo.names()[-1] == "own/line"
    assert zoo.image_size("own/line") == 8
    assert zoo.create(Network(architecture="own/line"), 5, 0)(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    with pytest.raises(ModelError, match="'own/lime' is not known; did you mean own/line"):
        zoo.create(Network(architecture="own/lime"), 5, 0)


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """What convolutions and linear layers learn."""
    layers = {name: part for name, part in module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}
    return {f"{name}.{key}": value for name, part in layers.items() for key, value in part.named_parameters()}


@pytest.mark.parametrize("scheme", ["xavier", "kaiming"])
@pytest.mark.parametrize("architecture", ["torchvision/resnet18", "cnn", "test_convnext"])
def test_random_weights_are_drawn_by_the_rule_that_is_asked_for(architecture, scheme):
    module = zoo.create(Network(architecture=architecture), 3, 0)
    before = {name: value.clone() for name, value in module.named_parameters()}
    zoo.initialise(module, scheme, 0)
    for name, value in weights_of(module).items():
        fan_in, fan_out = (1, 1) if value.ndim == 1 else nn.init._calculate_fan_in_and_fan_out(value)
        if name.endswith("bias"):
            assert not value.any()
        elif value.numel() > 2000:
            wanted = (2 / (fan_in + fan_out)) ** 0.5 if scheme == "xavier" else (2 / fan_out) ** 0.5
            assert value.std().item() == pytest.approx(wanted, rel=0.05), name
            if scheme == "xavier":
                assert value.abs().max() <= (6 / (fan_in + fan_out)) ** 0.5
    others = {name for name, _ in module.named_parameters()} - weights_of(module).keys()
    assert all(torch.equal(before[name], dict(module.named_parameters())[name]) for name in others)


def test_weights_drawn_by_a_rule_are_a_function_of_the_seed():
    made = [zoo.create(Network(architecture="cnn"), 3, 0) for _ in range(3)]
    for module, seed in zip(made, (1, 1, 2), strict=True):
        zoo.initialise(module, "kaiming", seed)
    first, again, other = (module.get_parameter("fc.weight") for module in made)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_network_built_for_one_size_takes_another_and_its_weights_with_it(tmp_path, architecture):
    """timm's own network of the published size, interpolated by timm's own rule, gives the same first weights."""
    published = zoo.create(Network(architecture=architecture), 3, 1)
    save_weights(tmp_path / "w.safetensors", published.state_dict(), {})
    module = zoo.create(Network(architecture=architecture), 3, 2, side=64)
    zoo.load_pretrained(module, tmp_path / "w.safetensors")
    assert module.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    deepest = "blocks.1.mlp.fc1.weight" if architecture.startswith("vit") else "layers.3.blocks.1.mlp.fc1.weight"
    assert torch.equal(module.state_dict()[deepest], published.state_dict()[deepest])
    if architecture.startswith("vit"):
        positions = timm.layers.resample_abs_pos_embed(published.pos_embed, (4, 4))
        assert torch.allclose(module.pos_embed, positions)
    found = find_blocks(module, Network(architecture=architecture), 64).stages
    assert len(found) == len(find_blocks(published, Network(architecture=architecture)).stages) > 3
