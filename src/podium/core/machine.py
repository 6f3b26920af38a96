"""What a computed byte depends on beside data, params and seed: code, libraries and processor of a machine."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Self

import podium
from podium.core.files import sha256_tree
from podium.core.identity import LIBRARIES, version

PACKAGE = Path(podium.__file__).parent
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # its convolutions
    "MKL_CBWR": "AVX2",  # its matrix products
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",  # exp and log of NumPy; X86_V3 is AVX2 with FMA
    "OPENBLAS_CORETYPE": "Haswell",  # matrix products of NumPy and SciPy
    "OPENBLAS_NUM_THREADS": "1",  # as many as there are cores otherwise
    "OPENCV_IPP": "avx2",
}
"""Environment variables with which x86-64 processors of several types compute the same, with their values."""
NO_AVX512 = {"OPENCV_CPU_DISABLE": "AVX512-SKX"}
"""One more, for processors with AVX-512: on others, OpenCV complains."""
_COMPUTING = ("amx", "avx", "fma")


@dataclass(frozen=True)
class Machine:
    """One machine, as far as its bytes depend on it.

    Attributes:
        podium: version and digest of the package.
        python: version.
        libraries: versions of those that compute.
        processor: its type.
        instructions: those of it that compute, by their flags; or what torch is held to.
    """

    podium: str
    python: str
    libraries: dict[str, str]
    processor: str
    instructions: str

    @classmethod
    @cache
    def here(cls) -> Self:
        """This one."""
        held = [f"{name}={os.environ[name]}" for name in sorted(AVX2) if name in os.environ]
        flags = [flag for flag in cpu_flags() if flag.startswith(_COMPUTING)]
        return cls(
            podium=f"{podium.__version__} ({sha256_tree([PACKAGE], PACKAGE)[:12]})",
            python=platform.python_version(),
            libraries={name: _version(name) for name in sorted(LIBRARIES.values())},
            processor=processor_name(),
            instructions=" ".join(held or sorted(flags)),
        )

    def differences(self, other: Self) -> list[str]:
        """What another machine has that this one has not, for people; empty where both compute the same bytes."""
        held = "=" in self.instructions
        pairs = {
            "Podium": (self.podium, other.podium),
            "Python": (self.python, other.python),
            **{name: (self.libraries[name], other.libraries.get(name, "missing")) for name in self.libraries},
            "the processor": (self.processor, self.processor if held else other.processor),
            "instructions": (self.instructions, other.instructions),
        }
        return [f"{name} is {there} instead of {here}" for name, (here, there) in pairs.items() if here != there]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def processor_name() -> str:
    """The type of this machine's processor, which decides some last bits of what torch computes."""
    said = _processor()
    if not said:
        return platform.processor() or platform.machine()
    kind = "".join(f", {key} {said[key]}" for key in ("cpu family", "model") if key in said)
    return f"{said.get('model name') or platform.machine()}{kind}"


def cpu_flags() -> frozenset[str]:
    """What this processor can do, as Linux names it; elsewhere one of type x86-64 is taken for one with AVX2."""
    if said := _processor():
        return frozenset(said.get("flags", "").split())
    return frozenset({"avx2"} if on_x86() else ())


def on_x86() -> bool:
    """Whether this processor is of type x86-64."""
    return platform.machine() in ("x86_64", "AMD64")


@cache
def _processor() -> dict[str, str]:
    """What Linux says of the last of its processors; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
