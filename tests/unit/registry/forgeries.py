"""Ways to bring an unworthy, tampered or unknown version to `staging`, or to make the record lie: one function each.

A world holds two honest versions on record, 1 at `staging` and 2 `candidate`. `PROMOTED` are tried before somebody
promotes version 2, which must be refused; `AUDITED` must be named by `podium audit`; `INVENTED` are papers that were
wrong when Podium itself put the version on record, which the gates must notice. `APPROVALS` are what there is in place
of an approval by somebody else, when Ada promotes version 1 to `production`.
"""

import base64
import json
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from tests.unit.registry.promotions import NAME

Forge = Callable[[SimpleNamespace], object]


def json_of(path: Path, change: Callable[[dict], object]) -> None:
    """Edits a JSON file, NaN and infinity included."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def artifacts(world: SimpleNamespace, number: str = "2") -> Path:
    return world.layout.root / "packages" / number / "artifacts"


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def other_weights(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    tensors = {name: np.asarray(0.5 * tensor, tensor.dtype) for name, tensor in load_file(weights).items()}
    save_file(tensors, weights)


def all_papers_of_other_weights(folder: Path) -> None:
    """New weights with a card and a golden batch that fit them."""
    from podium.data.tensors import digest_like
    from podium.models.inference import load_classifier
    from podium.registry.golden import GoldenBatch
    from podium.registry.predictor import predict_bytes, serving_runtime

    other_weights(folder)
    digest = digest_like(
        folder / "weights.safetensors", json.loads((folder / "model.json").read_text())["weights_sha256"]
    )
    json_of(folder / "model.json", lambda card: card.update(weights_sha256=digest))
    golden = GoldenBatch.read(folder / "golden.json")
    given = predict_bytes(load_classifier(folder, serving_runtime(folder)), golden.files)
    images = [i.model_copy(update={"probabilities": p.tolist()}) for i, p in zip(golden.images, given, strict=True)]
    golden.model_copy(update={"images": images}).write(folder / "golden.json")


def metric(**values: object) -> Callable[[Path], None]:
    return lambda folder: json_of(folder / "metrics.json", lambda m: [m[k].update(value=v) for k, v in values.items()])


def recall(folder: Path) -> None:
    json_of(folder / "metrics.json", lambda m: next(iter(m["per_class"].values())).update(recall=1.0))


def predictions(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        change(pd.read_parquet(folder / "predictions.parquet")).to_parquet(folder / "predictions.parquet", index=False)

    return forge


def perfect(frame: pd.DataFrame) -> pd.DataFrame:
    """Every image named rightly, and surely."""
    frame["predicted"] = frame["label"]
    for column in [name for name in frame if name.startswith("p_")]:
        frame[column] = np.where(frame["label"] == column[2:], 1.0, 0.0).astype(np.float32)
    return frame


def rotate_classes(folder: Path) -> None:
    json_of(folder / "model.json", lambda card: card["classes"].append(card["classes"].pop(0)))


def golden(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda folder: json_of(folder / "golden.json", change)


def add(name: str, text: str) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        (folder.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / name).write_text(text)

    return forge


def link(folder: Path) -> None:
    kept = folder.parents[2] / "elsewhere.json"
    shutil.move(folder / "metrics.json", kept)
    json_of(kept, lambda m: m["accuracy"].update(value=0.99))
    (folder / "metrics.json").symlink_to(kept)


PACKAGE: dict[str, Callable[[Path], object]] = {
    "a byte of the weights": lambda folder: flip_byte(folder / "weights.safetensors"),
    "other weights": other_weights,
    "other weights with card and golden batch": all_papers_of_other_weights,
    "weights gone": lambda folder: (folder / "weights.safetensors").unlink(),
    "accuracy 0.99": metric(accuracy=0.99),
    "accuracy 7": metric(accuracy=7.0),
    "accuracy infinite": metric(accuracy=float("inf")),
    "macro F1 not a number": metric(macro_f1=float("nan")),
    "recall": recall,
    "temperature": lambda folder: json_of(folder / "metrics.json", lambda m: m.update(temperature=0.01)),
    "test digest": lambda folder: json_of(folder / "metrics.json", lambda m: m.update(test_digest="0" * 64)),
    "slices": lambda folder: json_of(folder / "metrics.json", lambda m: m.update(slices={})),
    "perfect predictions": predictions(perfect),
    "predictions of one image": predictions(lambda frame: frame.head(1)),
    "no prediction": predictions(lambda frame: frame.head(0)),
    "labels swapped": predictions(lambda frame: frame.assign(label=frame["label"].to_numpy()[::-1])),
    "class order": rotate_classes,
    "preprocessing": lambda folder: json_of(folder / "model.json", lambda c: c["preprocessing"].update(pad_value=0)),
    "another model's name": lambda folder: json_of(folder / "model.json", lambda card: card.update(model="other")),
    "golden tolerance": golden(lambda batch: batch.update(tolerance=0.99)),
    "golden not a number": golden(lambda batch: batch["images"][0].update(probabilities=[float("nan")] * 3)),
    "golden batch of no image": golden(lambda batch: batch.update(images=[])),
    "golden of one image": golden(lambda batch: batch.update(images=batch["images"][:1])),
    "validation passed": lambda folder: json_of(folder / "validation.json", lambda v: v.update(rejected=0)),
    "validation without results": lambda folder: json_of(folder / "validation.json", lambda v: v.update(results=[])),
    "validation gone": lambda folder: (folder / "validation.json").unlink(),
    "code added": add("code/podium/registry/evil.py", "print('hello')"),
    "requirements": add("requirements.txt", "evil"),
    "loader": add("MLmodel", "flavors: {python_function: {loader_module: evil}}"),
    "a pickle": add("artifacts/model.pkl", "cos\nsystem\n"),
    "a link to elsewhere": link,
    "a linked folder": lambda folder: (folder.parent / "code").symlink_to(folder.parents[2]),
}
"""By what was changed in the package of a version, given its `artifacts/`."""

TAGS = {
    "podium.accuracy": "0.99",
    "podium.macro_f1": "0.99",
    "podium.fingerprint": "0" * 64,
    "podium.model": "other",
    "podium.weights_sha256": "0" * 64,
    "podium.test_digest": "0" * 64,
    "podium.validation_passed": "false",
    "podium.outcome": "alone",
    "podium.undecided_because": "it is fine",
    "podium.comparable": "false",
    "podium.differences": "pretraining (accepted: it is fine)",
    "podium.data_digest": "0" * 64,
    "podium.evidence": "0" * 64,
    "podium.git_commit": "0" * 40,
    "podium.relaxed": "minimum_rows: it is fine",
}
"""A forged value of each tag of a version."""


def lines(world: SimpleNamespace) -> list[str]:
    return world.layout.registry(NAME).read_text().splitlines()


def write(world: SimpleNamespace, new: list[str]) -> None:
    world.layout.registry(NAME).write_text("".join(f"{line}\n" for line in new))


def edit_line(world: SimpleNamespace, place: int, **change: object) -> None:
    found = lines(world)
    found[place] = json.dumps({**json.loads(found[place]), **change})
    write(world, found)


def seal_anew(world: SimpleNamespace, place: int, **change: object) -> None:
    """Edits a line and everything in the file that follows from it."""
    from podium.records.audit import AuditEntry

    found = [AuditEntry.model_validate_json(line) for line in lines(world)]
    kept = found[:place]
    for entry in [found[place].model_copy(update=change), *found[place + 1 :]]:
        kept.append(entry.model_copy(update={"previous": [], "digest": ""}).after(kept))
    write(world, [entry.line() for entry in kept])


def forge_entry(world: SimpleNamespace, **more: str) -> None:
    """An entry that nobody wrote, in the file alone."""
    from podium.records.audit import AuditEntry

    found = [AuditEntry.model_validate_json(line) for line in lines(world)]
    new = found[-1].model_copy(
        update={"number": len(found) + 1, "previous": [], "digest": "", "to_version": "2", **more}
    )
    write(world, [*lines(world), new.after(found).line()])


def tag(world: SimpleNamespace, number: int, text: str | None) -> None:
    key = f"podium.record.{number:06d}"
    if text is None:
        world.client.delete_registered_model_tag(NAME, key)
    else:
        world.client.set_registered_model_tag(NAME, key, text)


def plain_version(world: SimpleNamespace) -> None:
    """A version of plain MLflow with honest-looking tags, made candidate."""
    source = world.layout.root / "packages" / "9"
    shutil.copytree(artifacts(world).parent, source)
    tags = world.client.get_model_version(NAME, "2").tags
    world.client.create_model_version(NAME, source=str(source), tags=tags)
    world.client.set_registered_model_alias(NAME, "candidate", "3")


def another_source(world: SimpleNamespace) -> None:
    """The version leads to another package, by hand in the database."""
    source = world.layout.root / "packages" / "9"
    shutil.copytree(artifacts(world).parent, source)
    other_weights(source / "artifacts")
    with sqlite3.connect(world.layout.root / "mlflow.db") as database:
        database.execute(
            "UPDATE model_versions SET source = ?, storage_location = ? WHERE version = 2", [str(source)] * 2
        )


def cut_everywhere(world: SimpleNamespace) -> None:
    """The last entry, cut from file and store."""
    tag(world, len(lines(world)), None)
    write(world, lines(world)[:-1])


def stage(world: SimpleNamespace, number: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        world.client.transition_model_version_stage(NAME, number, name, archive_existing_versions=name == "Staging")


RECORD: dict[str, Forge] = {
    "an entry edited": lambda world: edit_line(world, 0, reason="as agreed"),
    "an entry edited and sealed": lambda world: seal_anew(world, 1, who="Grace"),
    "an entry dated back and sealed": lambda world: seal_anew(world, 2, when="2020-01-01T00:00:00+00:00"),
    "an entry cut out": lambda world: write(world, [lines(world)[0], *lines(world)[2:]]),
    "the last entry cut": lambda world: cut_everywhere(world),
    "an entry forged": forge_entry,
    "entries swapped": lambda world: write(world, [lines(world)[1], lines(world)[0], *lines(world)[2:]]),
    "a merge mark": lambda world: write(world, ["<<<<<<< mine", *lines(world)]),
    "a tag edited": lambda world: tag(world, 2, "2024 | promote | staging | 1 -> 2 | Ada | 1 of 1 gates | fine"),
    "a tag deleted": lambda world: tag(world, 1, None),
    "a tag forged": lambda world: tag(world, 9, f"x | promote | staging | 1 -> 2 | Ada | fine | sha256:{'0' * 64}"),
    "the store's name": lambda world: world.client.set_registered_model_tag(NAME, "podium.store", "another"),
    "a version by plain MLflow": plain_version,
    "another package in the database": another_source,
}
"""By what was done to the record, or past it."""

UNDECIDED = (
    "an entry forged",
    "a tag forged",
    "the store's name",
    "a version by plain MLflow",
    "another package in the database",
)
"""What a repair cannot mend, or must not without knowing who is right."""

PROMOTED: dict[str, Forge] = {
    **{f"package: {name}": lambda world, forge=forge: forge(artifacts(world)) for name, forge in PACKAGE.items()},
    **{
        f"tag: {key}": lambda world, key=key, value=value: world.client.set_model_version_tag(NAME, "2", key, value)
        for key, value in TAGS.items()
    },
    "tag: accuracy deleted": lambda world: world.client.delete_model_version_tag(NAME, "2", "podium.accuracy"),
    **{f"record: {name}": forge for name, forge in RECORD.items()},
    "alias moved by a client": lambda world: world.client.set_registered_model_alias(NAME, "staging", "2"),
    "alias deleted": lambda world: world.client.delete_registered_model_alias(NAME, "staging"),
}

AUDITED: dict[str, Forge] = {
    "holder: weights swapped after its promotion": lambda world: other_weights(artifacts(world, "1")),
    "holder: accuracy edited": lambda world: metric(accuracy=0.99)(artifacts(world, "1")),
    "holder: a tag edited": lambda world: world.client.set_model_version_tag(NAME, "1", "podium.accuracy", "0.99"),
    "holder: package gone": lambda world: shutil.rmtree(artifacts(world, "1")),
    "holder deleted": lambda world: world.client.delete_model_version(NAME, "1"),
    "candidate deleted": lambda world: world.client.delete_model_version(NAME, "2"),
    "candidate moved back": lambda world: world.client.set_registered_model_alias(NAME, "candidate", "1"),
    "candidate's alias deleted": lambda world: world.client.delete_registered_model_alias(NAME, "candidate"),
    "stage moved alone": lambda world: stage(world, "2", "Staging"),
    "stage archived": lambda world: stage(world, "1", "Archived"),
}


def consistent_but_perfect(folder: Path) -> None:
    """Predictions and metrics that fit each other, and no weights."""
    from podium.analysis.metrics import class_metrics
    from podium.registry.recompute import _read_predictions

    predictions(perfect)(folder)
    classes = tuple(json.loads((folder / "model.json").read_text())["classes"])
    found = class_metrics(_read_predictions(folder, classes))

    def change(document: dict) -> None:
        document["accuracy"]["value"] = document["macro_f1"]["value"] = 1.0
        document["per_class"] = {name: one.model_dump() for name, one in found.items()}

    json_of(folder / "metrics.json", change)


INVENTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "accuracy": (metric(accuracy=0.99), "accuracy is 0.99, its predictions give"),
    "macro F1": (metric(macro_f1=0.99), "macro_f1 is 0.99, its predictions give"),
    "recall": (recall, "recall of .* is 1, its predictions give"),
    "perfect predictions": (predictions(perfect), "its predictions give 1"),
    "perfect predictions and metrics": (consistent_but_perfect, "its weights give other predictions"),
    "predictions of one image": (predictions(lambda frame: frame.head(1)), "images is 24, its predictions give 1"),
    "no prediction": (predictions(lambda frame: frame.head(0)), "predictions.parquet is empty"),
    "class order": (rotate_classes, "of other classes, or of the same in another order"),
    "labels swapped": (
        predictions(lambda frame: frame.assign(label=frame["label"].to_numpy()[::-1])),
        "not of the images and labels of its test split",
    ),
    "other weights with card and golden batch": (all_papers_of_other_weights, "its weights give other predictions"),
    "golden tolerance": (golden(lambda batch: batch.update(tolerance=0.99)), "its golden batch tolerates 0.99"),
    "golden image of another": (
        golden(lambda batch: batch["images"][0].update(bytes=base64.b64encode(b"GIF89a").decode())),
        "golden batch",
    ),
}
"""Papers that were wrong before the version was registered: the forgery, and what a gate says."""


def approved(
    world: SimpleNamespace, who: str = "Grace", version: str = "1", to: str = "production", **more: str
) -> None:
    """An approval, after which Ada is at the keyboard again."""
    world.be(who, **more)
    world.approve(world, version, to)
    world.be("Ada")


def approved_in_2030(world: SimpleNamespace, later: str) -> None:
    approved(world, when="2030-01-01T00:00:00+00:00")
    world.be("Ada", when=later)


def clock_set_back(world: SimpleNamespace) -> None:
    approved_in_2030(world, "2031-01-01T00:00:00+00:00")
    world.promote(world, "2")
    world.be("Ada", when="2030-01-02T00:00:00+00:00")


def by_one_account(world: SimpleNamespace) -> None:
    approved(world, account="ada")
    world.be("Ada", account="ada")


def registered_anew_since(world: SimpleNamespace) -> None:
    """The version has other tags now, on record."""
    from podium.registry.evidence import digest_tags
    from tests.unit.registry.promotions import registry_of

    approved(world)
    registry = registry_of(world.layout)
    world.client.set_model_version_tag(NAME, "1", "podium.accuracy", "0.99")
    tags = digest_tags(registry.version("1").tags)
    other = registry.record().registration("1").version.model_copy(update={"tags": tags})
    registry.append("register", "candidate", holder="3", number="1", reason="again", version=other)
    world.client.set_registered_model_alias(NAME, "candidate", "1")


def used_up(world: SimpleNamespace) -> None:
    """The version was approved and left `production` since."""
    approved(world)
    world.promote(world, "1", "production")
    world.promote(world, "2")
    approved(world, version="2")
    world.promote(world, "2", "production")


APPROVALS: dict[str, tuple[Forge, str]] = {
    "none": (lambda world: None, "approval of 1 other person and has 0: one of them gives `podium approve 1"),
    "by who asks": (lambda world: approved(world, "Ada"), r"that of Ada \(root\) \(entry 5\) is by who asks"),
    "by who asks in other letters": (lambda world: approved(world, "aDA "), "is by who asks"),
    "by another name of who asks": (by_one_account, r"that of Grace \(root\), account ada \(entry 5\) is by who asks"),
    "expired": (
        lambda world: approved_in_2030(world, "2030-01-15T00:00:01+00:00"),
        r"that of Grace \(root\) \(entry 5\) expired on 2030-01-15 00:00",
    ),
    "expired, and the clock set back": (clock_set_back, r"\(entry 5\) expired on 2030-01-15"),
    "of what the version was before": (registered_anew_since, r"\(entry 5\) is for what the version was then"),
    "of another version": (lambda world: approved(world, version="2"), "has 0: one of them"),
    "for another alias": (lambda world: approved(world, to="staging"), "has 0: one of them"),
    "used up": (used_up, "has 0: one of them"),
    "its name edited": (
        lambda world: (approved(world, "Ada"), edit_line(world, 4, who="Grace (root)")),
        "the record of podium-tiny does not hold",
    ),
    "its name edited and sealed": (
        lambda world: (approved(world, "Ada"), seal_anew(world, 4, who="Grace (root)")),
        "entry 5 of the store is not the one in this clone's file",
    ),
    "its end edited and sealed": (
        lambda world: (approved_in_2030(world, "2031-01-01T00:00:00+00:00"), seal_anew(world, 4, expires="2099-01-01")),
        "entry 5 of the store is not the one in this clone's file",
    ),
    "forged in the file": (
        lambda world: forge_entry(world, action="approve", alias="production", to_version="1", who="Grace (root)"),
        "is in this clone's file and not in the store",
    ),
    "forged in the store": (
        lambda world: tag(world, 5, f"x | approve | production | 1 -> 1 | Grace | fine | sha256:{'0' * 64}"),
        "entry 5 of the store is not in",
    ),
}
"""What there is instead of an approval: the attempt, and what the refusal says."""
