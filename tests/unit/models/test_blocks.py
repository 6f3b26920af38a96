import pytest
import torch
from torch import nn

from podium.config.models import Head, Network
from podium.models import blocks, zoo
from podium.models.blocks import block_names, find_blocks
from tests.small_networks import Tokens

# what is written: first and last block of the last stage, and of the head; every family and shape of head once
STAGES = [
    ("resnet18", ("layer4.0", "layer4.1"), ("global_pool", "fc")),
    ("convnext_tiny", ("stages.3", "norm_pre"), ("head.global_pool", "head.fc")),
    ("vgg16", ("features.23", "features.30"), ("pre_logits", "head.flatten")),  # 1 x 1 after pre_logits: no map
    ("efficientnet_b0", ("blocks.5.0", "bn2"), ("global_pool", "classifier")),  # blocks of blocks are opened
    ("torchvision/resnet18", ("layer4.0", "layer4.1"), ("avgpool", "fc")),
    ("torchvision/alexnet", ("features.5", "avgpool"), ("classifier.0", "classifier.6")),  # its pool gives 6 x 6
    ("torchvision/vgg16", ("features.23", "avgpool"), ("classifier.0", "classifier.6")),
    ("torchvision/googlenet", ("maxpool4", "inception5b"), ("avgpool", "fc")),
    ("densenet121", ("features.transition3", "features.norm5"), ("global_pool", "classifier")),
    ("cnn", ("features.block3.pool", "features.block4.pool"), ("pool", "fc")),
]


def network(architecture: str, **more: object) -> Network:
    return Network(architecture=architecture, **more)


def empty(what: Network) -> nn.Module:
    """Without memory for its weights."""
    with torch.device("meta"):
        return zoo.create(what, 5, 0)


@pytest.mark.parametrize(("architecture", "last", "head"), STAGES)
def test_the_last_stage_begins_where_the_feature_map_is_smallest_and_the_head_follows_it(architecture, last, head):
    found = find_blocks(empty(network(architecture)), network(architecture)).stages
    assert (found[-2][0], found[-2][-1]) == last
    assert (found[-1][0], found[-1][-1]) == head
    assert len(found) >= 4


@pytest.mark.parametrize("architecture", [row[0] for row in STAGES])
def test_every_unit_is_in_one_stage_or_aside(architecture):
    module = empty(network(architecture))
    found = find_blocks(module, network(architecture))
    assert sorted([*found.names, *found.unused]) == sorted(block_names(module))
    in_blocks = {
        f"{block}.{name}" for block in block_names(module) for name, _ in module.get_submodule(block).named_parameters()
    }
    assert in_blocks == {name for name, _ in module.named_parameters()}


def test_stages_do_not_depend_on_the_size_of_the_images_at_hand_and_finding_them_changes_nothing():
    module = zoo.create(network("test_resnet"), 3, 0)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert [stage[0] for stage in find_blocks(module, network("test_resnet")).stages] == [
        "conv1.0", "maxpool", "layer2.0", "layer3.0", "layer4.0", "global_pool",
    ]  # fmt: skip
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert module.training
    assert all(part.training for part in module.modules())


def test_attention_and_a_head_of_our_own_are_the_head():
    what = network("test_resnet", attention="cbam", head=Head(pooling="max", hidden=(16,)))
    found = find_blocks(zoo.create(what, 3, 0), what).stages
    assert found[-2][0] == "backbone.layer4.0"
    assert {name.partition(".")[0] for name in found[-1]} >= {"attention", "head"}
    assert all(name.startswith("backbone.") for stage in found[:-1] for name in stage)


# without feature maps: number of stages, first stage, last one before the head, head
BLOCKS = [
    ("test_vit", 8, ("patch_embed", "norm_pre"), ("blocks.5", "norm"), ("fc_norm", "head")),
    ("test_vit2", 10, ("patch_embed", "norm_pre"), ("blocks.7", "norm"), ("fc_norm", "head")),
    (
        "deit_tiny_distilled_patch16_224",
        14,
        ("patch_embed", "norm_pre"),
        ("blocks.11", "norm"),
        ("head_drop", "head_dist"),
    ),
    ("mixer_s32_224", 10, ("stem", "stem"), ("blocks.7", "norm"), ("head_drop", "head")),
    ("eva02_tiny_patch14_224", 14, ("patch_embed", "norm_pre"), ("blocks.11", "norm"), ("fc_norm", "head")),  # a list
    ("pit_ti_224", 2, ("patch_embed", "norm"), ("patch_embed", "norm"), ("head_drop", "head")),  # blocks within blocks
]


@pytest.mark.parametrize(("architecture", "stages", "first", "last", "head"), BLOCKS, ids=[row[0] for row in BLOCKS])
def test_without_feature_maps_stages_are_the_embedding_each_block_and_the_head(architecture, stages, first, last, head):
    module = empty(network(architecture))
    found = find_blocks(module, network(architecture))
    assert len(found.stages) == stages
    ends = [(stage[0], stage[-1]) for stage in (found.stages[0], found.stages[-2], found.stages[-1])]
    assert ends == [first, last, head]
    blocks_of = {name for block in found.names for name in _tensors(module, block)}
    in_no_block = {name for name, _ in module.named_parameters()} - blocks_of
    assert in_no_block <= {"cls_token", "dist_token", "reg_token", "pos_embed"}
    assert not any(_tensors(module, name) for name in found.unused)


def _tensors(module: nn.Module, block: str) -> list[str]:
    return [f"{block}.{name}" for name, _ in module.get_submodule(block).named_parameters()]


class Biased(nn.Module):
    """Computed by timm's two methods, with a table that a method reads."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.table = nn.Conv2d(3, 4, 8, 8), nn.Embedding(1, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.head = nn.Linear(4, 3)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).mT + self.table.weight
        for block in self.blocks:
            x = block(x)
        return x

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.mean(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def test_what_learns_and_is_never_called_itself_is_in_the_first_stage():
    expected = (("table", "patches"), ("blocks.0",), ("blocks.1",), ("head",))
    assert find_blocks(Biased(), network("test_vit")).stages == expected


def test_a_sequence_without_timm_s_methods_is_no_chain():
    assert find_blocks(Tokens(), network("test_vit")).stages == ()


def test_pooling_in_front_counts_as_what_is_before_it_and_dropout_does_not():
    module = empty(network("torchvision/alexnet"))
    assert blocks.skip_fixed(module, ["features.5", "features.6"]) == "features.6"
    assert blocks.skip_fixed(module, ["avgpool", "classifier.0", "classifier.1"]) == "classifier.0"
