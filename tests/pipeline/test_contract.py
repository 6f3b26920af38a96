"""params.yaml, the config classes, dvc.yaml, stages/, pipeline/ and MLproject say the same thing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from podium.config.params import Params, load
from podium.core import identity
from podium.core.identity import CHANGES_NO_RESULT, LIBRARIES
from podium.core.layout import Layout
from podium.pipeline.code import STAGES as CODE_STAGES

ROOT = Path(__file__).parents[2]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
COPIES = {"distil", "teach"}  # copy a file or a folder: no script, no module, no params
STAGES = [stage for stage in DVC if stage not in COPIES]


def body(stage: str) -> dict:
    return DVC[stage].get("do", DVC[stage])


def test_a_stage_is_a_script_a_module_and_an_entry_point_of_the_same_name():
    scripts = {p.stem for p in (ROOT / "stages").glob("*.py")} - {"__init__"}
    modules = {p.stem for p in (ROOT / "src/podium/pipeline").glob("*.py")} - {"__init__"}
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    assert scripts == modules == set(STAGES)
    assert set(project["entry_points"]) == {"main", *STAGES}
    for stage in STAGES:
        command = body(stage)["cmd"]
        assert command.split(" --model")[0] == f"python -m stages.{stage}"
        per_model = "foreach" in DVC[stage]
        assert per_model == ("--model ${key}" in command)
        expected = f"dvc repro {stage}" + ("@{model}" if per_model else "")
        assert project["entry_points"][stage]["command"] == expected


def test_every_stage_but_none_other_has_its_params_section():
    fields = {f.alias or n for n, f in Params.model_fields.items()}
    # `dataset` is what to fetch, `promote` is read by the command line; `repeat` follows `train` with other `seeds`.
    others = {"experiment", "seed", "seeds", "runtime", "resources", "dataset", "models", "distil", "promote"}
    assert fields == others | set(STAGES) - {"code", "repeat"}
    assert list(yaml.safe_load((ROOT / "params.yaml").read_text())) == [
        f.alias or n for n, f in Params.model_fields.items()
    ], "params.yaml is not in the order of the Params class"


def test_every_stage_depends_on_its_code():
    for stage in STAGES:
        listed = f"artifacts/code/{stage}.json" in body(stage).get("deps", [])
        assert listed == (stage in CODE_STAGES), stage
    assert set(STAGES) == {*CODE_STAGES, "code", "publish"}


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_what_holds_measured_times(stage):
    times = (Layout(Path()).report, Layout(Path()).work / "times")
    deps = [Path(dep) for dep in body(stage).get("deps", [])]
    assert not [(dep, time) for dep in deps for time in times if dep == time or dep in time.parents]


def test_what_changes_no_result_is_there():
    for name in CHANGES_NO_RESULT:
        base = ROOT / "src" / Path(*name.split("."))
        assert base.with_suffix(".py").is_file() or base.is_dir(), f"{name} is gone: take it off the list"


# Libraries that stages import and whose version changes no byte of a result. A new one is put here or in
# `identity.LIBRARIES`, which is a decision about reruns.
CHANGE_NO_BYTE = {
    *("filelock", "requests", "urllib3", "fsspec", "huggingface_hub", "kagglehub", "kagglesdk"),  # bytes are pinned
    *("backports", "py7zr"),  # what they unpack has a checksum
    *("pydantic", "pydantic_core", "yaml"),  # params, checked and handed on
    *("rich", "threadpoolctl"),
    "ray",  # runs what would run here; tests on a cluster hold the bytes
    "pillow_heif",  # an extra: recorded, it would rerun everything for whoever installs it and has no HEIC
    "faiss",  # an extra, for more than 100,000 images: its sums are of whole numbers, so no version rounds otherwise
}


def test_every_library_a_stage_imports_is_known_to_change_results_or_not_to():
    own = {"podium", "stages", *sys.stdlib_module_names}
    modules = [module for stage in CODE_STAGES for module in identity._modules(ROOT, stage).values()]
    found = {name.partition(".")[0] for module in modules for name in module.imports}
    assert not found - own - set(LIBRARIES) - CHANGE_NO_BYTE


FRONTS = {"podium.curation.expectations", "podium.models.zoo"}  # several modules that are used as one


def test_a_room_passed_through_runs_no_code():
    rooms = [init for init in (ROOT / "src/podium").glob("*/**/__init__.py") if init.parent.name != "cli"]  # no stage's
    for init in rooms:
        tree = ast.parse(init.read_text())
        package = ".".join(init.parent.relative_to(ROOT / "src").parts)
        rest = tree.body[1:]
        if package in FRONTS:  # nothing but names of its own modules
            own = [n for n in rest if isinstance(n, ast.ImportFrom) and (n.module or "").startswith(package)]
            rest = [n for n in rest if n not in own and "__all__" not in ast.unparse(n)]
        assert ast.get_docstring(tree) and not rest, f"{init} must hold a docstring and nothing else"


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_tracks_exactly_the_params_a_stage_script_reads(stage):
    uses = {
        "complete": {"train", "models"},
        "search": {"tune", "models"},
        "study": {"tune", "models"},
        "warm_start": {"models"},
        "model": {"models"},
        "further_seeds": {"seed", "seeds"},
        "validate_": {"validate"},
    }
    read: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "stages" / f"{stage}.py").read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params":
            read |= uses.get(node.attr, {node.attr})
    if stage == "code":  # runs each time
        read = set()
    if stage == "publish":
        read = {"experiment", "seed", "seeds", "runtime", "dataset", "models", "publish", "promote"}
    tracked = {p.split(".")[0] for p in body(stage).get("params", [])}
    # `experiment` only names MLflow's experiment for the live view, and what the test split was opened for; resources
    # change no byte.
    free = {"experiment"} if stage in {"tune", "train", "repeat", "evaluate"} else set()
    assert tracked == read - free - {"resources"}


def test_a_student_s_stages_wait_for_its_teacher_and_read_its_params_from_where_code_writes_them():
    for stage in ("tune", "train", "repeat"):
        assert "artifacts/teachers/${key}" in body(stage)["deps"]
    assert body("teach")["deps"] == ["artifacts/models/${item.teacher}"]
    teacher = Layout(Path()).teacher("${key}")
    assert body("teach")["outs"] == [teacher.as_posix()]
    assert body("distil")["deps"] == [Layout(Path()).distil("${key}").as_posix()]
    assert body("distil")["outs"] == [(teacher.parent / "distil.json").as_posix()]


def test_dvc_yaml_can_be_read_in_one_go():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) < 120


def test_what_tunes_and_trains_cannot_see_the_test_split():
    for stage in ("tune", "train", "repeat"):
        deps = " ".join(body(stage)["deps"])
        assert "prepared/test" not in deps
        assert "manifest" not in deps


def test_every_kept_experiment_is_valid():
    kept = sorted((ROOT / "experiments").glob("*.yaml"))
    assert [k.stem for k in kept]
    for file in kept:
        assert load(file).experiment == file.stem


def test_the_committed_params_are_those_of_the_sample():
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=ROOT, capture_output=True, text=True, check=False)
    if shown.returncode or load(ROOT / "params.yaml").experiment != "sample":
        pytest.skip("another experiment is in force, or this is no git checkout")
    assert (ROOT / "params.yaml").read_text() == (ROOT / "experiments/sample.yaml").read_text()


def _defaults(
    section: type[BaseModel], given: dict, at: str = "", usual: BaseModel | None = None
) -> Iterator[tuple[str, object, object]]:
    """Dotted key, default of the class (of the section it is in), value in the file, for every key that has one."""
    for name, field in section.model_fields.items():
        key, inner = f"{at}{field.alias or name}", field.annotation
        value = given.get(field.alias or name, Ellipsis)
        default = getattr(usual, name) if usual else field.get_default(call_default_factory=True)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, dict):
            yield from _defaults(inner, value, f"{key}.", default if isinstance(default, BaseModel) else None)
        elif usual or not field.is_required():
            yield key, default, value


def test_the_defaults_of_the_classes_are_what_the_default_experiment_shows():
    raw = yaml.safe_load((ROOT / "experiments/sample.yaml").read_text(encoding="utf-8"))
    shown = list(_defaults(Params, raw))
    plain = {
        key: TypeAdapter(type(default)).dump_python(default, mode="json")
        for key, default, value in shown
        if value is not Ellipsis
    }
    own = {key for key, _, value in shown if key in plain and value != plain[key]}
    # the sample is too small to decide, its latency is held against the holder's, since seconds depend on the machine,
    # and its committed bytes are to be those of a newcomer's machine; a model of one's own may be quick instead
    assert own == {"compare.accept", "promote.maximum_latency_ratio", "runtime.instructions"}
    assert {key for key, _, value in shown if value is Ellipsis and not key.endswith(".because")} <= {
        "promote.gates",
        "promote.signers",
        "evaluate.abstain.coverage",  # in place of the risk
    }


# What takes half a second or more to import, and which stages cannot begin without it. Everything else is imported
# where it is used (plots, Great Expectations, MLflow) or never by this stage.
HEAVY = ("cleanlab", "cv2", "fsspec", "great_expectations", "imagehash", "kagglehub", "matplotlib", "mlflow", "optuna")
HEAVY += ("requests", "scipy", "skimage", "sklearn", "timm", "torch", "torchvision")
FROM_THE_START = {
    "fetch": {"requests"},
    "preprocess": {"cv2", "imagehash", "scipy", "skimage"},
    "tune": {"optuna", "timm", "torch", "torchvision"},
    "train": {"timm", "torch", "torchvision"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_nothing_heavy_that_it_does_not_begin_with(stage):
    """The figures are in `benchmarks/stage_start.py`; this keeps the imports as they were measured."""
    watcher = ", podium.tracking.live" if stage in {"tune", "train", "repeat"} else ""
    code = f"import sys, stages.{stage}, podium.pipeline.{stage}{watcher}; print(*sys.modules.keys() & set({HEAVY}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= FROM_THE_START.get(stage, set())
