"""`podium lineage`: a version back to its data, and an image forward to the versions that saw it."""

import hashlib
import json
import re
import shutil
import subprocess

import pandas as pd
import pytest
import yaml

from podium.config.params import load
from podium.console.dvc_files import digest_lock
from podium.core.files import sha256_file
from tests.unit.cli.calls import one_line, podium
from tests.unit.registry.forgeries import flip_byte
from tests.unit.registry.promotions import NAME, client_of, gathered, register

CHAIN = ["version", "package", "run", "git commit", "dvc.lock", "params", "prepared manifest", "raw source"]
CHAIN += ["pretrained weights", "package versions"]


def git(root, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(
        ["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def cache(root, data, suffix=""):
    """Puts bytes where DVC's cache keeps them; their digest as `dvc.lock` has it."""
    digest = hashlib.md5(data).hexdigest() + suffix
    path = root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


@pytest.fixture
def traced(project, tmp_path):
    """A version whose dvc.lock is committed, and whose small files are in DVC's cache."""
    root, sources = project.root, project.raw / "sources.json"
    listing = [{"md5": cache(root, sources.read_bytes()), "relpath": "sources.json"}]
    outs = {
        "artifacts/raw": cache(root, json.dumps(listing).encode(), ".dir"),
        "artifacts/prepared/manifest.parquet": cache(root, project.manifest.read_bytes()),
    }
    stage = {"cmd": "true", "params": {"params.yaml": {"seed": 7, "dataset": {"location": "data/made-up"}}}}
    stage["outs"] = [{"path": path, "hash": "md5", "md5": digest, "size": 1} for path, digest in outs.items()]
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"fetch": stage}}))
    git(root, "init", "-q")
    git(root, "add", "dvc.lock")
    git(root, "commit", "-q", "-m", "results")
    tags = {
        "podium__git_commit": git(root, "rev-parse", "HEAD"),
        "podium__git_dirty": "false",
        "podium__dvc_lock_sha256": digest_lock((root / "dvc.lock").read_text()),
        "podium__data_digest": sha256_file(project.manifest),
    }
    evidence = gathered(project, load(project.params), tmp_path / "gathered")
    number, client = register(project, evidence, **tags), client_of(project)
    run = client.get_model_version(NAME, number).run_id
    client.set_tag(run, "podium.fingerprint", evidence.card.fingerprint)
    return project


def steps(said):
    """Every step of a lineage by its kind."""
    found = {said["kind"]: said}
    for inner in said["made_from"]:
        found |= steps(inner)
    return found


def lineage_of(given="1"):
    result = podium("lineage", given, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    return said["changed"], steps(said["version"])


def move_on(project):
    """The checkout goes on to other data."""
    table = pd.read_parquet(project.manifest)
    table.iloc[1:].to_parquet(project.manifest, index=False)
    (project.raw / "sources.json").write_text('{"sources": [], "shared": {}}')
    (project.root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")


@pytest.mark.parametrize("given", ["1", "candidate", f"models:/{NAME}@candidate"])
def test_every_step_is_held_against_its_digest(traced, given):
    changed, found = lineage_of(given)
    assert (changed, list(found)) == ([], CHAIN)
    assert {step["state"] for step in found.values()} == {"checked"}
    assert found["params"]["facts"] == {"seed": "7", "dataset.location": "data/made-up"}
    assert found["raw source"]["facts"]["licence"] == "CC0-1.0"
    assert found["prepared manifest"]["facts"]["sha256"] == sha256_file(traced.manifest)
    assert re.fullmatch(r"\S+ \(trained, registered\)", found["package versions"]["facts"]["torch"])


def test_corrected_labels_are_a_step_of_their_own(traced):
    sources = json.loads((traced.raw / "sources.json").read_text())
    row = {"image_id": "0" * 16, "path": "a.jpg", "source": "made-up", "was": "pear", "label": "apple", "why": "seen"}
    sources["corrections"] = {"location": "data/corrections.csv", "images": [row], "unused": 0}
    (traced.raw / "sources.json").write_text(json.dumps(sources))
    shutil.rmtree(traced.root / ".dvc")
    step = lineage_of()[1]["label corrections"]
    assert (step["name"], step["note"], step["state"]) == ("data/corrections.csv", "1 label corrected", "told")
    assert step["facts"] == {f"a.jpg ({'0' * 16})": "pear -> apple (seen)"}


def test_an_older_state_is_read_from_git_and_the_cache(traced):
    move_on(traced)
    _, found = lineage_of()
    assert {step["state"] for step in found.values()} == {"checked"}
    assert found["dvc.lock"]["note"] == "that of the commit"
    assert found["prepared manifest"]["note"] == "in DVC's cache"
    assert found["raw source"]["name"] == "made-up"


def test_what_is_not_here_is_not_told_of_other_files(traced):
    move_on(traced)
    for path in (traced.root / ".dvc").rglob("*"):
        if path.is_file():
            flip_byte(path)
    commit = git(traced.root, "rev-parse", "HEAD")
    shutil.rmtree(traced.root / ".git")
    git(traced.root, "init", "-q")
    _, found = lineage_of()
    assert {kind for kind, step in found.items() if step["state"] == "missing"} == {
        "git commit",
        "dvc.lock",
        "prepared manifest",
    }
    assert found["prepared manifest"]["note"] == f"not in this checkout: git checkout {commit[:12]}, dvc checkout"
    source = found["raw source"]
    assert (source["name"], source["state"], source["note"]) == ("made-up", "checked", "by the package")
    assert source["facts"]["licences of images"].endswith(" CC0-1.0")
    assert found["git commit"]["note"] == "not in this clone: git fetch"
    assert (found["params"]["name"], found["params"]["state"]) == ("in the package", "checked")


def test_without_dvc_and_git_what_the_checkout_tells_counts_as_told(project, versions):
    client_of(project).set_model_version_tag(NAME, "2", "podium.data_digest", sha256_file(project.manifest))
    changed, found = lineage_of("2")
    assert "the tags of version 2 changed" in changed[0]
    states = {
        kind: found[kind]["state"] for kind in ("version", "prepared manifest", "raw source", "run", "git commit")
    }
    assert list(states.values()) == ["changed", "checked", "told", "told", "missing"]


def test_a_version_that_is_not_as_recorded_is_told_first(traced):
    flip_byte(traced.root / "packages" / "1" / "artifacts" / "weights.safetensors")
    client_of(traced).delete_run(client_of(traced).get_model_version(NAME, "1").run_id)
    said = podium("lineage", "1").stdout
    assert re.match(r"! the package of version 1 changed since \d{4}-\d\d-\d\d, when it was registered", said)
    for line in ("[changed]", "deleted, in MLflow's bin", "raw source made-up [checked]", "licence CC0-1.0"):
        assert line in said
    _, found = lineage_of()
    states = [found[kind]["state"] for kind in ("version", "package", "pretrained weights", "package versions")]
    assert states == ["changed", "changed", "told", "told"]
    (traced.root / "packages" / "1").rename(traced.root / "gone")
    changed, found = lineage_of()
    assert changed == ["the package of version 1 is gone"]
    assert found["package versions"]["state"] == found["package"]["state"] == "missing"


def test_a_tag_that_was_edited_is_never_an_option_of_git(traced):
    client_of(traced).set_model_version_tag(NAME, "1", "podium.git_commit", f"--output={traced.root}/written")
    changed, found = lineage_of()
    assert "the tags of version 1 changed" in changed[0]
    assert (found["git commit"]["state"], list(traced.root.glob("written*"))) == ("missing", [])


def test_the_diagram_is_mermaid_whatever_a_source_is_called(traced):
    sources = traced.raw / "sources.json"
    sources.write_text(sources.read_text().replace('"data/made-up"', '"a \\"b\\" [c] #d"'))
    (traced.root / ".dvc").rename(traced.root / ".gone")
    lines = podium("lineage", "1", "--mermaid").stdout.splitlines()
    assert lines[0] == "flowchart LR"
    node, edge = r'  s\d+\["[^"\[\]]+"\]:::(checked|told)', r"  s\d+ --> s\d+"
    assert all(re.fullmatch(rf"{node}|{edge}|  classDef \w+ stroke:\S+", line) for line in lines[1:])
    assert sum(line.startswith("  s") and "-->" in line for line in lines) == len(CHAIN) - 1
    assert "location: a #34;b#34; #91;c#93; #35;d" in "\n".join(lines)


@pytest.mark.parametrize(
    ("split", "saw"),
    [("train", "trained on it"), ("val", "chosen on it (validation)"), ("test", "tested on it")],
)
def test_an_image_is_found_by_file_path_and_id_with_the_versions_that_saw_it(traced, split, saw):
    table = pd.read_parquet(traced.manifest)
    row = table[table["split"] == split].iloc[0]
    number = int(row["path"].split("/")[1])
    from tests.unit.conftest import _picture

    (traced.root / "photo.png").write_bytes(_picture(number, int(row["path"].split("/")[2].removesuffix(".png"))))
    for given in (row["image_id"], row["path"], "photo.png"):
        said = json.loads(podium("lineage", "--image", given, "--json").stdout)
        images = [image for image in said["images"] if image["image_id"] == row["image_id"]]
        assert (images[0]["split"], images[0]["label"], images[0]["group"]) == (split, row["label"], "fruit")
        (version,) = said["versions"]
        assert saw in version["saw"]
    text = " ".join(podium("lineage", "--image", row["image_id"]).stdout.split())
    assert f"{row['path']} ({row['image_id']}): {split}, {row['label']} of fruit; from made-up, licence CC0-1.0" in text
    assert f"1 (candidate) tiny_resnet {saw}" in text


def test_of_other_data_only_the_test_images_are_known(traced):
    table = pd.read_parquet(traced.manifest)
    tested, other = (table[table["split"] == split].iloc[0]["image_id"] for split in ("test", "train"))
    table[table["image_id"] != tested].to_parquet(traced.manifest, index=False)
    said = podium("lineage", "--image", tested).stdout
    assert "in no split of the present data" in said
    assert "tested on it" in said
    assert "not known: other data" in podium("lineage", "--image", other).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "name a version (`podium lineage staging`) or an image"),
        (("1", "--image", "a.jpg"), 2, "name a version"),
        (("1", "--mermaid", "--json"), 2, "--mermaid draws a version alone"),
        (("stagin",), 2, "'stagin' is no model of the experiment and no version of podium-tiny"),
        (("models:/other@staging",), 1, "no model is registered as 'other'"),
        (("--image", "nowhere.jpg"), 1, "nowhere.jpg is no image of the present data, and no version was tested on it"),
    ],
)
def test_what_cannot_be_traced_is_said_in_one_line(project, versions, arguments, code, message):
    result = podium("lineage", *arguments)
    assert (result.exit_code, message in result.stderr, one_line(result.stderr)) == (code, True, True)
