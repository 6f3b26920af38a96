"""Which images a version knows is told by the manifest of its commit, wherever that is to be had."""

import subprocess

import pytest

from podium.core.files import sha256_file
from podium.registry.read_only import Version
from podium.serving.new_images import read_known


def run(root, *command):
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def version(experiment):
    """A version whose prepared manifest is in DVC's cache alone, and its layout."""
    layout = experiment.layout
    root = layout.root
    for command in ("git init -q", "git config user.name a", "git config user.email a@example.org", "dvc init -q"):
        run(root, *command.split())
    run(root, "dvc", "add", "-q", str(layout.manifest))
    run(root, "git", "add", ".dvc", str(layout.manifest.with_name("manifest.parquet.dvc")))
    run(root, "git", "commit", "-qm", "data")
    tags = {"podium.git_commit": run(root, "git", "rev-parse", "HEAD")}
    tags["podium.data_digest"] = sha256_file(layout.manifest)
    layout.manifest.unlink()
    return layout, Version("1", "", tags)


def test_it_comes_from_the_commit_of_the_version_and_is_what_the_version_says(version):
    layout, one = version
    known = read_known(layout, one)
    assert known is not None and "test" in known.splits.values()
    assert set(known.train["split"]) == {"train"}
    for changes in (
        {"podium.data_digest": "0" * 64},
        {"podium.git_commit": "0" * 40},
        {"podium.git_commit": "--help"},
        {"podium.git_commit": ""},
    ):
        assert read_known(layout, Version("1", "", {**one.tags, **changes})) is None
    assert read_known(layout, None) is None  # of no version: what is in force, which is not here
