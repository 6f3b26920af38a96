"""Side-by-side measurements, one script per claim: `python -m benchmarks.NAME`; the last line printed is JSON."""

from podium.core import vision as _vision  # noqa: F401  # before a benchmark imports torchvision or timm itself
