"""The most a machine can do, measured: a bfloat16 matrix product, against which model FLOP utilisation is told."""

import time

import torch


def matmul_flops(side: int, device: str, seconds: float = 1.0) -> float:
    """Floating-point operations per second of a square bfloat16 product, the best of several stretches of time.

    Args:
        side: of the matrices.
        device: cpu or cuda.
        seconds: to measure for.
    """
    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))

    def finished() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(3):
        a @ b
    best, end = 0.0, finished() + seconds
    while (start := finished()) < end:
        for _ in range(5):
            a @ b
        best = max(best, 5 * 2 * side**3 / (finished() - start))
    return best
