import platform
import subprocess
import sys

import pytest

from podium.models.allocation import keep_memory

PAGES = """
import resource
import numpy as np
from podium.models.allocation import keep_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(2**24)  # 128 MiB, more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

asked_again = pages()
assert keep_memory()
pages()
print(asked_again, pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_memory_that_was_given_back_is_taken_again_without_new_pages():
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    asked_again, kept = map(int, done.stdout.split())
    assert kept < asked_again / 4


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_memory() is False
