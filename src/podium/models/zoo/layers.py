"""What is put on a backbone: attention, a head, the neighbours of a probe."""

import math
from collections import OrderedDict
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from podium.config.models import Head
from podium.core.vision import timm


def build_head(channels: int, head: Head, classes: int) -> nn.Sequential:
    """Pooling (`own` = average), dropout, hidden layers with ReLU and dropout each, the classifier."""
    hidden = nn.Sequential()
    width = channels
    for size in head.hidden:
        hidden.extend((nn.Linear(width, size), nn.ReLU(inplace=True), nn.Dropout(head.dropout)))
        width = size
    pool = timm.layers.SelectAdaptivePool2d(pool_type="avg" if head.pooling == "own" else head.pooling, flatten=True)
    return nn.Sequential(
        OrderedDict(pool=pool, drop=nn.Dropout(head.dropout), hidden=hidden, fc=nn.Linear(width, classes))
    )


_HEADS = 8


class SelfAttention(nn.Module):
    """Every position looks at every other: x + MHA(LN(x)).

    Multi-head attention over the H x W positions (Vaswani et al. 2017) with the norm before it and a residual, as in
    Dosovitskiy et al. 2021. Positions are not encoded: the map of a convolutional network tells them apart.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        # Positions come first: batch_first would let torch take another kernel in evaluation than in training.
        self.attention = nn.MultiheadAttention(channels, math.gcd(channels, _HEADS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same."""
        positions = self.norm(x.flatten(2).permute(2, 0, 1))
        change, _ = self.attention(positions, positions, positions, need_weights=False)
        out: torch.Tensor = x + change.permute(1, 2, 0).reshape(x.shape)
        return out


def block(kind: Literal["none", "se", "cbam", "self"], channels: int) -> nn.Module:
    """A block with fresh weights.

    Args:
        kind: `none` = the identity; `se` = squeeze and excitation, a gate per channel (Hu et al. 2018); `cbam` = a
            gate per channel, then one per position (Woo et al. 2018); `self` = multi-head self-attention.
        channels: C of the feature map.
    """
    if kind == "none":
        return nn.Identity()
    if kind == "self":
        return SelfAttention(channels)
    made: nn.Module = timm.layers.create_attn(kind, channels)
    return made


class NearestNeighbours(nn.Module):
    """A last layer that lets the most similar training images vote (Cover & Hart 1967), by cosine similarity.

    Of the k votes and one more that all classes share equally, a class has the share (votes + 1/C) / (k + 1): no class
    is ruled out by a handful of neighbours. The logits are the logarithms of these shares.

    Attributes:
        features: of the training images, float32, shape (N, D), of length 1.
        labels: their class numbers, int64, shape (N,).
        k: how many vote, int64, at most N. Until `fit`, none, and all logits are 0.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes, self._voters = classes, 0
        self.features: torch.Tensor
        self.labels: torch.Tensor
        self.k: torch.Tensor
        self.register_buffer("features", torch.zeros(0, 0))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("k", torch.zeros((), dtype=torch.int64))

    def fit(self, features: torch.Tensor, labels: torch.Tensor, k: int) -> None:
        """Keeps training images: float32 (N, D) and int64 (N,); all of them vote where there are fewer than `k`."""
        self.features, self.labels = F.normalize(features), labels
        self._voters = min(k, len(labels))
        self.k = torch.tensor(self._voters, device=labels.device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, C), in float32."""
        if x.is_meta or not len(self.labels):  # where there are shapes only, nothing is counted
            return x.new_zeros(len(x), self.classes)
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            similarity = F.normalize(x.float()) @ self.features.T
        nearest = self.labels[similarity.topk(self._voters).indices]
        votes = (nearest[:, :, None] == torch.arange(self.classes, device=x.device)).sum(dim=1)
        return torch.log((votes + 1 / self.classes) / (self._voters + 1))

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: Any) -> None:
        for name in ("features", "labels"):  # as many as the file holds
            if (given := state_dict.get(f"{prefix}{name}")) is not None:
                setattr(self, name, torch.empty_like(given, device=self.k.device))
        if (voters := state_dict.get(f"{prefix}k")) is not None:
            self._voters = int(voters)
        super()._load_from_state_dict(state_dict, prefix, *rest)
