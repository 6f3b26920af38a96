"""Machines that would compute other bytes are told apart, by what differs."""

from dataclasses import replace

import pytest

from podium.core.machine import AVX2, Machine
from podium.core.ray_executor import find_differences


@pytest.fixture
def here(monkeypatch):
    """This machine with all its instructions."""
    for name in AVX2:
        monkeypatch.delenv(name, raising=False)
    Machine.here.cache_clear()
    yield Machine.here()
    Machine.here.cache_clear()


def test_a_machine_is_like_itself_and_all_that_differs_is_named(here):
    other = replace(
        here, podium="0.0.1 (0)", libraries={**here.libraries, "torch": "9.9"}, processor="Z80", instructions="nop"
    )
    assert here.differences(here) == []
    assert [said.split(" is ")[0] for said in here.differences(other)] == [
        "Podium", "torch", "the processor", "instructions",
    ]  # fmt: skip
    assert f"torch is 9.9 instead of {here.libraries['torch']}" in here.differences(other)


def test_processors_may_differ_where_torch_is_held_to_what_all_of_them_can(monkeypatch, here):
    for name in AVX2:
        monkeypatch.setenv(name, "AVX2")
    Machine.here.cache_clear()
    held = Machine.here()
    assert held.differences(replace(held, processor="another")) == []
    assert held.differences(here) != []


def test_a_node_that_does_not_see_the_projects_folder_is_told(tmp_path, here):
    shared = tmp_path / "project/.podium/shared-1"
    assert find_differences(here, shared) == [
        f"it does not see {shared.parent}, a folder that all nodes must share without resources.storage",
    ]  # fmt: skip
    assert find_differences(here, None) == []
