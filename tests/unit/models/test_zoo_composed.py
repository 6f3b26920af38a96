"""Attention and heads on the feature map of any backbone."""

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from timm.layers import SelectAdaptivePool2d
from torch import nn

from podium.config.models import Head, Network
from podium.core.errors import ModelError
from podium.data.randomness import number
from podium.models import zoo
from podium.models.zoo.layers import SelfAttention, block

BACKBONES = ["cnn", "torchvision/resnet18", "test_resnet", "test_convnext", "test_efficientnet"]
KINDS = ["se", "cbam", "self"]
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def native(architecture: str, classes: int = 7) -> dict[str, torch.Tensor]:
    """Weights of the whole architecture, as published ones are named."""
    return zoo.create(Network(architecture=architecture), classes, 9).state_dict()


def dropouts(module: nn.Module) -> list[float]:
    return [part.p for part in module.modules() if isinstance(part, nn.Dropout)]


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_without_attention_no_byte_differs_from_the_architecture_itself(architecture):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number(5, "weights", 0))
        expected = timm.create_model(architecture, num_classes=3, drop_rate=0.2)
        expected.get_classifier().reset_parameters()  # as torch draws linear layers, and not as the authors do
    network = Network(architecture=architecture, attention="none", head=Head(dropout=0.2))
    found = zoo.create(network, 3, 5)
    assert type(found) is type(expected)
    assert [*found.state_dict()] == [*expected.state_dict()]
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))
    assert dropouts(found) == dropouts(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", BACKBONES)
def test_gradients_reach_attention_and_it_is_trained(architecture, kind):
    module = zoo.create(Network(architecture=architecture, attention=kind), 3, 0)
    assert [name for name, _ in module.named_children()] == ["backbone", "attention", "head"]
    before = {name: tensor.detach().clone() for name, tensor in module.attention.named_parameters()}
    # An attention that normalises its input may give a bias no influence; weights always have some.
    weights = [name for name in before if name.endswith("weight")]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(IMAGES), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    after = dict(module.attention.named_parameters())
    assert weights
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in after.values())
    assert [name for name in weights if torch.equal(before[name], after[name])] == []


def test_first_weights_of_every_part_are_a_function_of_the_seed():
    network = Network(architecture="test_resnet", attention="self", head=Head(hidden=(5,)))
    a, b, c = (zoo.create(network, 3, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    for name in ("backbone.conv1.0.weight", "attention.attention.in_proj_weight", "head.hidden.0.weight"):
        assert not torch.equal(a[name], c[name])


def test_self_attention_is_a_residual_that_treats_positions_alike():
    attention = SelfAttention(12).eval()
    x = torch.randn(2, 12, 3, 5)
    turned = attention(x.flip(2, 3)).flip(2, 3)
    torch.testing.assert_close(attention(x), turned)
    nn.init.zeros_(attention.attention.out_proj.weight)
    assert torch.equal(attention(x), x)


def test_self_attention_computes_the_same_in_training_and_evaluation():
    attention = SelfAttention(16)
    x = torch.randn(2, 16, 4, 4)
    trained = attention.train()(x).detach()
    with torch.no_grad():
        assert torch.equal(attention.eval()(x), trained)


@pytest.mark.parametrize("kind", ["se", "cbam"])
def test_gates_only_ever_scale_a_value_down(kind):
    x = torch.randn(2, 32, 5, 5)
    share = block(kind, 32).eval()(x) / x
    assert ((share > 0) & (share < 1)).all()
    if kind == "se":
        assert torch.allclose(share, share[:, :, :1, :1].expand_as(share))


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax"])
@pytest.mark.parametrize("hidden", [(), (6, 4)])
def test_a_head_of_its_own_is_pooling_hidden_layers_and_a_classifier(pooling, hidden):
    head = Head(dropout=0.3, hidden=hidden, pooling=pooling)
    module = zoo.create(Network(architecture="test_resnet", head=head), 3, 0).eval()
    with torch.no_grad():
        features = module.backbone(IMAGES)
        x = {
            "avg": features.mean((2, 3)),
            "max": features.amax((2, 3)),
            "avgmax": (features.mean((2, 3)) + features.amax((2, 3))) / 2,
        }[pooling]
        for layer in (part for part in module.head.hidden if isinstance(part, nn.Linear)):
            x = layer(x).relu()
        torch.testing.assert_close(module(IMAGES), module.head.fc(x))
    assert dropouts(module.head) == [0.3] * (1 + len(hidden))
    assert [part.out_features for part in module.head.modules() if isinstance(part, nn.Linear)] == [*hidden, 3]


def test_attention_alone_keeps_average_pooling():
    module = zoo.create(Network(architecture="cnn", attention="se"), 3, 0)
    assert isinstance(module.head.pool, SelectAdaptivePool2d)
    assert module.head.pool.pool_type == "avg"


@pytest.mark.parametrize("architecture", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_a_network_without_a_feature_map_is_refused(architecture):
    with (
        pytest.raises(ModelError, match=r"no map \(N, C, H, W\).*leave attention, head\.pooling and head\.hidden out"),
        torch.device("meta"),
    ):
        zoo.create(Network(architecture=architecture, attention="se"), 3, 0)


# --- published weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_head", [True, False])
@pytest.mark.parametrize("architecture", BACKBONES)
def test_published_weights_fill_the_backbone_and_nothing_else(tmp_path, architecture, with_head):
    given = native(architecture)
    fresh = zoo.classifier_names(zoo.create(Network(architecture=architecture), 7, 0))
    save_file(given if with_head else {k: v for k, v in given.items() if k not in fresh}, tmp_path / "w.safetensors")
    network = Network(architecture=architecture, attention="cbam")
    module, untouched = zoo.create(network, 3, 0), zoo.create(network, 3, 0).state_dict()
    zoo.load_pretrained(module, tmp_path / "w.safetensors")
    for name, tensor in module.state_dict().items():
        own = name.removeprefix("backbone.")
        assert torch.equal(tensor, untouched[name] if own == name else given[own]), name
    assert zoo.classifier_names(module) == {name for name in untouched if not name.startswith("backbone.")}


def test_layers_that_the_new_head_replaces_may_be_missing_in_the_file(tmp_path):
    module = zoo.create(Network(architecture="vgg11", attention="se"), 3, 0)
    features = {f"features.{name}": tensor + 1 for name, tensor in module.backbone.features.state_dict().items()}
    save_file(features, tmp_path / "w.safetensors")
    zoo.load_pretrained(module, tmp_path / "w.safetensors")
    assert torch.equal(module.backbone.features[0].bias, features["features.0.bias"])
    with torch.device("meta"):
        whole = zoo.create(Network(architecture="vgg11"), 3, 0)
    with pytest.raises(ModelError, match=r"pre_logits\.fc1\.bias is missing"):
        zoo.load_pretrained(whole, tmp_path / "w.safetensors")


def test_weights_that_do_not_fit_the_backbone_are_refused_by_name(tmp_path):
    given = native("test_resnet")
    del given["conv1.0.weight"]
    given["extra.weight"] = torch.zeros(2)
    save_file(given, tmp_path / "w.safetensors")
    module = zoo.create(Network(architecture="test_resnet", attention="se"), 3, 0)
    with pytest.raises(ModelError, match=r"conv1\.0\.weight is missing, extra\.weight is unknown"):
        zoo.load_pretrained(module, tmp_path / "w.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_the_plain_network_takes_attention_within_at_the_end_of_each_block(kind):
    inside = zoo.create(Network(architecture="cnn", attention=kind, attention_at="blocks"), 3, 0)
    blocks = [*inside.backbone.features]
    assert [[name for name, _ in part.named_children()][-1] for part in blocks] == ["attention"] * 4
    assert not list(inside.attention.parameters())
    after = zoo.create(Network(architecture="cnn", attention=kind), 3, 0)
    assert zoo.count_parameters(inside) > zoo.count_parameters(after)
    nn.functional.cross_entropy(inside(IMAGES), torch.tensor([0, 1, 2, 0])).backward()
    assert all(parameter.grad is not None for parameter in inside.parameters())


@pytest.mark.parametrize(("architecture", "attention"), [("resnet18", "se"), ("cnn", "none")])
def test_attention_within_a_network_is_for_the_plain_one_with_attention(architecture, attention):
    with pytest.raises(ValidationError, match="attention_at is blocks, which is for architecture cnn with attention"):
        Network(architecture=architecture, attention=attention, attention_at="blocks")
