"""Attention as a block on a feature map: float32 (N, C, H, W) in, the same shape out."""

import math
from typing import Literal

import torch
from torch import nn

from podium.core.vision import timm

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
