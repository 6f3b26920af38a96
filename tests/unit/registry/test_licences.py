import pandas as pd

from podium.core.layout import Layout
from podium.records.fetch import Sources, WeightsRecord
from podium.records.training import ModelCard
from podium.registry.licences import Licences, write_licences
from podium.registry.versions import description
from podium.report.results import read_results

MODEL = "tiny_resnet"


def pretrained(layout: Layout, **told: str) -> None:
    path = layout.model(MODEL) / "model.json"
    card = ModelCard.read(path)
    told = {"architecture": card.architecture, "weights": "resnet10t.c3_in1k", "pretraining": "in1k", **told}
    card.model_copy(update={"pretrained": WeightsRecord(**told)}).write(path)


def test_images_and_first_weights_are_told_as_json_and_as_text(experiment, tmp_path):
    pretrained(experiment.layout, licence="apache-2.0", source="a hub")
    write_licences(experiment.layout, MODEL, tmp_path)
    found, (source,) = (
        Licences.read(tmp_path / "licences.json"),
        Sources.read(experiment.layout.raw / "sources.json").sources,
    )
    assert (found.images[0].licences, found.images[0].location) == (source.licences, source.location)
    assert (found.weights.licence, found.weights.source, found.photographs) == ("apache-2.0", "a hub", 0)
    text = (tmp_path / "licences.txt").read_text()
    assert f"- made-up (data/made-up), {source.images} images: {source.images} CC0-1.0" in text
    assert "- resnet10t.c3_in1k (a hub), trained on in1k: apache-2.0" in text
    assert not (tmp_path / "attribution.csv").exists()


def test_each_photograph_with_an_author_is_a_row_once(experiment, tmp_path):
    table = pd.read_parquet(experiment.layout.manifest)
    authors = ["Ada, Countess", None, "", "Émilie"] + ["Ada, Countess"] * (len(table) - 4)
    table = table.assign(author=authors, page="https://example.org/1")
    table.loc[5, "photo_id"] = table.loc[4, "photo_id"]  # two crops of one photograph
    table.to_parquet(experiment.layout.manifest, index=False)
    write_licences(experiment.layout, MODEL, tmp_path)
    rows = pd.read_csv(tmp_path / "attribution.csv")
    assert len(rows) == len(table) - 3 == Licences.read(tmp_path / "licences.json").photographs
    assert set(rows["author"]) == {"Ada, Countess", "Émilie"}
    assert list(rows.columns) == ["source", "path", "licence", "author", "page"]
    assert f"The {len(rows)} photographs with their authors: attribution.csv" in (tmp_path / "licences.txt").read_text()


def test_the_page_of_a_version_names_both_licences(experiment):
    for name in experiment.params.models:
        path = experiment.layout.model(name) / "model.json"
        card = ModelCard.read(path)
        first = WeightsRecord(architecture="a", weights="b", source="c", licence="cc-by-4.0", pretraining="d")
        card.model_copy(update={"pretrained": first}).write(path)
    card = description(read_results(experiment.layout, experiment.params), "1")
    assert "| licence of the images | CC0-1.0 |" in card
    assert "| licence of the first weights | cc-by-4.0 |" in card
