"""Params sections `runtime`, how numbers are computed, and `resources`, what may be used for it."""

import os
import platform
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from podium.config.base import Number, PositiveInt, Section, Whole
from podium.core.errors import ParamsError
from podium.core.jobs import Cluster
from podium.core.machine import AVX2, NO_AVX512, cpu_flags, on_x86
from podium.core.storage import Storage


class Runtime(Section):
    """How numbers are computed; part of every fingerprint, `auto` as the device that it came to.

    `instructions: avx2` lets an x86-64 CPU use no newer instructions than AVX2, so that one with and one without newer
    ones can give the same bytes; `native` takes the fastest ones. It says nothing about other devices and other CPUs.
    `processes` train a network together, each with so many threads; on a cluster they may be fewer for a while where it
    is `elastic`.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    threads: PositiveInt = 2
    instructions: Literal["native", "avx2"] = "native"
    processes: PositiveInt = 1
    elastic: bool = False


def _without_password(url: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://([^\s/:@]+@)?[^\s@]+", url):
        raise ValueError("give an address such as s3://bucket/folder, without a password, which git would keep")
    return url


class Resources(Section):
    """What may be used for it: processes and disk. It changes no byte, so it is a parameter of no stage.

    `workers` decode images (0 or 1: the stage's own process does). `trials_at_once` is how many jobs of torch run side
    by side, each with `runtime.threads`: trials of a study, trainings of a learning curve, questions to a model in
    evaluate and explain (1: the stage's own process does). `cache_gib` is the disk, per model, for the activations of
    frozen layers, `decoded_gib` the disk for what decoding made of images, from one `preprocess` to the next. With
    `executor: ray` the cluster at `address` runs all these jobs, compares near duplicates and trains instead, as many
    at once as fit there. Its nodes see the project's folder, or download what they need from `storage`, any address
    that fsspec knows, and keep `storage_cache_gib` of that; jobs that cannot do so stay on this machine then.
    """

    executor: Literal["local", "ray"] = "local"
    address: Annotated[str, Field(pattern=r"^(auto|(ray://)?[^\s:/]+:\d{1,5})$")] = "auto"
    workers: Annotated[Whole, Field(ge=0)] = 2
    trials_at_once: PositiveInt = 1
    cache_gib: Annotated[Number, Field(ge=0)] = 8.0
    decoded_gib: Annotated[Number, Field(ge=0)] = 8.0
    storage: Annotated[str, AfterValidator(_without_password)] | None = None
    storage_cache_gib: Annotated[Number, Field(gt=0)] = 50.0

    def cluster(self, root: Path, **of_a_job: Any) -> Cluster | None:
        """The cluster that jobs run on; None where this machine runs them.

        Args:
            root: the project's folder.
            of_a_job: what each takes; see `Cluster`.
        """
        return Cluster(self.address, root, storage=self.exchange, **of_a_job) if self.executor == "ray" else None

    @property
    def exchange(self) -> Storage | None:
        """By what nodes get files; None where they see the project's folder."""
        return None if self.storage is None else Storage(self.storage, self.storage_cache_gib)


LOCAL = Resources()
"""Jobs run on this machine, those of torch one after the other in the process that asks for them."""

_READERS = ("cv2", "numpy", "torch")  # read them once, when they are imported or first compute


def use_instructions(runtime: Runtime) -> None:
    """Lets this process and those that it starts compute with `runtime.instructions`; nothing to do for `native`.

    It is called before NumPy, OpenCV or torch is imported, and again wherever something is computed, to be sure of it.

    Raises:
        ParamsError: an x86-64 CPU that is to compute has no AVX2, or one of these libraries was imported otherwise set.
    """
    if runtime.instructions == "avx2" and runtime.device == "cpu" and on_x86() and "avx2" not in cpu_flags():
        raise ParamsError(
            f"runtime.instructions is avx2, which this CPU ({platform.machine()}) does not have: set it to native"
        )
    wanted = instruction_settings(runtime)
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        if loaded := [name for name in _READERS if name in sys.modules]:
            raise ParamsError(
                f"runtime.instructions is avx2, but {loaded[-1]} was imported before that could be set: call "
                "podium.config.runtime.use_instructions first, or set runtime.instructions to native"
            )
        os.environ.update(wanted)


def instruction_settings(runtime: Runtime) -> dict[str, str]:
    """The environment variables of `runtime.instructions`, for a process that is about to start on this machine."""
    flags = cpu_flags()
    if runtime.instructions == "native" or runtime.device not in ("auto", "cpu") or "avx2" not in flags:
        return {}
    return AVX2 | (NO_AVX512 if "avx512f" in flags else {})
