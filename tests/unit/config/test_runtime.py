"""`runtime.instructions` is set before any library can compute otherwise, for this process and those it starts."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from podium.config import runtime as config
from podium.config.runtime import Runtime, instruction_settings, use_instructions
from podium.core.errors import ModelError, ParamsError
from podium.core.layout import Layout
from podium.models.compute import Compute, instruction_set

ROOT = Layout(Path(__file__).parents[3]).root
AVX2 = Runtime(instructions="avx2")
ON_X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="no x86-64 CPU")

PROJECT = "from podium.console.terminal import project; project()"
STAGE = """
import sys
from podium.console.shell import run_stage
def main(params, layout):
    pass
sys.argv = ["stage"]
assert run_stage(main) == 0
"""
SAYS = """
import sys
assert not {"cv2", "numpy", "torch"} & sys.modules.keys(), "imported too early"
import subprocess
print(subprocess.check_output([sys.executable, "-c", "import os; print(os.environ['ATEN_CPU_CAPABILITY'])"], text=True))
"""


def without_settings() -> dict[str, str]:
    """This environment as it is before anything is set."""
    return {name: value for name, value in os.environ.items() if name not in instruction_settings(AVX2)}


@ON_X86
@pytest.mark.parametrize("begin", [PROJECT, STAGE], ids=["a command", "a stage"])
def test_commands_and_stages_set_it_before_any_library_loads_and_their_processes_inherit_it(begin, tmp_path):
    file = tmp_path / "toy.py"
    file.write_text(begin + SAYS, encoding="utf-8")
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    environment = {**without_settings(), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, file], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("avx2"), done.stderr


@ON_X86
def test_torch_and_numpy_compute_with_avx2():
    assert instruction_set() == f"{platform.machine()} AVX2"
    assert Compute.of(AVX2).identity["instructions"] == "avx2"


def test_native_and_cuda_set_nothing():
    assert instruction_settings(Runtime()) == instruction_settings(Runtime(device="cuda", instructions="avx2")) == {}


@ON_X86
def test_an_x86_cpu_without_avx2_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(config, "cpu_flags", lambda: frozenset({"sse4_2", "avx"}))
    with pytest.raises(ParamsError, match=r"this CPU \(.+\) does not have: set it to native$"):
        use_instructions(AVX2)
    use_instructions(Runtime())


def test_a_cpu_of_another_kind_computes_as_it_does(monkeypatch):
    """The first command on Apple silicon or ARM is not an error: such a CPU has no instructions to leave out."""
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(config, "cpu_flags", frozenset)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    use_instructions(AVX2)
    assert instruction_settings(AVX2) == {}
    assert Compute.of(AVX2).identity["instructions"] == "avx2"


@ON_X86
def test_what_was_imported_with_other_settings_is_refused(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    with pytest.raises(ParamsError, match="torch was imported before that could be set"):
        Compute.of(AVX2)
    assert "ONEDNN_MAX_CPU_ISA" not in os.environ


@ON_X86
def test_torch_that_says_it_computes_otherwise_is_refused_whatever_was_set(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    with pytest.raises(ModelError, match="avx2, but torch computes with .* AVX512"):
        Compute.of(AVX2)
    assert Compute.of(Runtime()).identity["instructions"] == "native"


def test_opencv_is_told_of_newer_instructions_only_where_they_are(monkeypatch):
    monkeypatch.setattr(config, "cpu_flags", lambda: frozenset({"avx2"}))
    older = instruction_settings(AVX2)
    monkeypatch.setattr(config, "cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert instruction_settings(AVX2) == {**older, "OPENCV_CPU_DISABLE": "AVX512-SKX"}
