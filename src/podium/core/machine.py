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
INSTRUCTIONS = (
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "NPY_ENABLE_CPU_FEATURES",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_IPP",
)
"""Environment variables of `runtime.instructions: avx2`, with which processors of several types compute the same."""
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
        held = [f"{name}={os.environ[name]}" for name in INSTRUCTIONS if name in os.environ]
        flags = [flag for flag in _processor().get("flags", "").split() if flag.startswith(_COMPUTING)]
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


@cache
def _processor() -> dict[str, str]:
    """What Linux says of the last of its processors; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
