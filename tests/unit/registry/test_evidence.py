"""Whatever became of a package, promotion judges it or says in one line why it cannot."""

import json
import shutil
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.config.params import load
from podium.core.errors import PodiumError
from podium.core.layout import Layout
from podium.registry import gates, predictor
from podium.registry.evidence import FILES, read_evidence
from tests.damage import changed_json, damaged, no_longer_than
from tests.unit.registry.promotions import gathered

DOCUMENTS = ("model.json", "metrics.json", "validation.json", "golden.json")
FUZZ = settings(max_examples=25)


@pytest.fixture(scope="module")
def whole(finished_project, tmp_path_factory):
    layout = Layout(finished_project)
    return gathered(layout, load(layout.params), tmp_path_factory.mktemp("package"))


@pytest.fixture
def judge(whole, finished_project, tmp_path, monkeypatch):
    """Judges the package with one file of it changed, against itself as it was; None where it was refused."""
    monkeypatch.setattr(predictor, "LATENCY_ROUNDS", 1)
    monkeypatch.setattr(predictor, "LATENCY_WARM_UPS", 0)
    layout = Layout(finished_project)
    limits = load(layout.params).promote

    def judged(name, data):
        folder = tmp_path / "artifacts"
        shutil.copytree(whole.folder, folder, dirs_exist_ok=True)
        (folder / name).write_bytes(data)
        try:
            with no_longer_than(60):
                evidence = read_evidence(SimpleNamespace(version="2", tags=whole.tags, aliases=[]), tmp_path)
                return {gate.name: gate for gate in gates.run_gates(evidence, whole, limits, layout)}
        except PodiumError as refused:
            assert "\n" not in str(refused)
            return None

    return judged


def test_the_package_as_it_is_is_judged(judge, whole):
    assert judge("golden.json", (whole.folder / "golden.json").read_bytes())["golden_batch"].passed


def without(document, key):
    return {k: v for k, v in document.items() if k != key}


EMPTIED = {
    "no golden image": ("golden.json", lambda d: {**d, "images": []}),
    "no probability": ("golden.json", lambda d: {**d, "images": [{**d["images"][0], "probabilities": []}]}),
    "no bytes": ("golden.json", lambda d: {**d, "images": [{**i, "bytes": ""} for i in d["images"]]}),
    "bytes that are no base64": ("golden.json", lambda d: {**d, "images": [{**i, "bytes": "!"} for i in d["images"]]}),
    "a tolerance of nothing": ("golden.json", lambda d: {**d, "tolerance": 0}),
    "any tolerance": ("golden.json", lambda d: {**d, "tolerance": 1e300}),
    "no class in the card": ("model.json", lambda d: {**d, "classes": []}),
    "a class too many": ("model.json", lambda d: {**d, "classes": [*d["classes"], "more"]}),
    "no side": ("model.json", lambda d: {**d, "preprocessing": {**d["preprocessing"], "image_size": 0}}),
    "a side of a billion": (
        "model.json",
        lambda d: {**d, "preprocessing": {**d["preprocessing"], "image_size": 10**9}},
    ),
    "no device": ("model.json", lambda d: {**d, "runtime": {**d["runtime"], "device": ""}}),
    "another network": ("model.json", lambda d: {**d, "architecture": "no such network"}),
    "no deviation": ("model.json", lambda d: {**d, "std": [0, 0, 0]}),
    "no class measured": ("metrics.json", lambda d: {**d, "per_class": {}}),
    "no expectation": ("validation.json", lambda d: {**d, "results": []}),
    "no accuracy": ("metrics.json", lambda d: without(d, "accuracy")),
}


@pytest.mark.parametrize(("name", "change"), EMPTIED.values(), ids=EMPTIED)
def test_what_was_emptied_is_judged_or_one_line(judge, whole, name, change):
    judge(name, json.dumps(change(json.loads((whole.folder / name).read_bytes()))).encode())


def test_an_emptied_golden_batch_cannot_be_judged(judge, whole):
    assert judge("golden.json", b'{"classes": ["a"], "tolerance": 0.1, "images": []}') is None


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("data", [b"", b"[" * 200_000, b'{"a": NaN}', b"\0" * 100])
def test_what_is_no_document_cannot_be_judged(judge, name, data):
    assert judge(name, data) is None


@FUZZ
@given(name=st.sampled_from(DOCUMENTS), seed=st.integers(0, 2**32))
def test_a_changed_document_is_judged_or_one_line(judge, whole, name, seed):
    judge(name, changed_json(seed, (whole.folder / name).read_bytes()))


@FUZZ
@given(data=st.data())
def test_a_damaged_file_is_judged_or_one_line(judge, whole, data):
    name = data.draw(st.sampled_from(sorted(FILES.values())))
    judge(name, data.draw(damaged([(whole.folder / name).read_bytes()])))
