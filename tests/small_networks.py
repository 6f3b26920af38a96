"""Networks for tests of how one is taken apart."""

import torch
from torch import nn


class Tokens(nn.Module):
    """A sequence of patches without the two methods of timm's networks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 4, 8, 8), nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.patches(x).flatten(2).mT).mean(1))
