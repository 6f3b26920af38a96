import base64

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModelContext

from podium.core.errors import DataError
from podium.registry import predictor
from tests.cards import a_card


@pytest.fixture
def classifier(experiment):
    model = predictor.ImageClassifier()
    weights = experiment.layout.model("tiny_resnet") / "weights.safetensors"
    metrics = experiment.layout.evaluation("tiny_resnet") / "metrics.json"
    model.load_context(PythonModelContext({"weights": str(weights), "metrics": str(metrics)}, {}))
    return model


@pytest.fixture
def png(experiment):
    from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest

    row = read_manifest(experiment.layout.raw / "manifest.parquet", RAW_COLUMNS).iloc[0]
    return RawImages(experiment.layout.raw).read(row["shard"], row["photo_id"])


def test_base64_text_bytes_and_data_urls_are_the_same_image(classifier, png):
    text = base64.b64encode(png).decode()
    given = [text, png, f"data:image/png;base64,{text}", f"{text[:50]}\n{text[50:]}"]
    answer = classifier.predict(None, pd.DataFrame({"image": given}))
    assert list(answer.columns) == ["label", "score", "p_<b>pear</b>", "p_apple", "p_감"]
    assert (answer.iloc[:, 2:].nunique() == 1).all()
    assert answer["score"].iloc[0] == answer.iloc[0, 2:].max()
    assert answer["label"].iloc[0] == answer.columns[2:][answer.iloc[0, 2:].to_numpy().argmax()].removeprefix("p_")
    assert answer.iloc[0, 2:].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("this is no base64!", "is not base64 text"),
        (base64.b64encode(b"GIF89a but not really").decode(), "unreadable"),
        (b"\x89PNG\r\n\x1a\n", "unreadable"),
        ("", "unreadable"),
        (None, "NoneType given"),
        (3.5, "float given"),
    ],
)
def test_a_bad_image_is_a_clean_error_that_names_its_row(classifier, png, bad, why):
    with pytest.raises(MlflowException, match=rf"^row 1: not an image: .*{why}") as caught:
        classifier.predict(None, pd.DataFrame({"image": pd.Series([png, bad], dtype=object)}))
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "\n" not in caught.value.message


def test_more_images_than_a_batch_come_back_in_order_and_a_bad_one_late_is_named(classifier, png, monkeypatch):
    monkeypatch.setattr(predictor, "BATCH_SIZE", 2)
    loaded = classifier._classifier
    one = predictor.predict_bytes(loaded, [png])
    assert np.allclose(predictor.predict_bytes(loaded, [png] * 5), np.repeat(one, 5, axis=0), atol=1e-6)
    with pytest.raises(DataError, match="^row 4: not an image"):
        predictor.predict_bytes(loaded, [png] * 4 + [b"x"])


def test_no_image_gives_no_row(classifier):
    assert predictor.predict_bytes(classifier._classifier, []).shape == (0, 3)
    assert len(classifier.predict(None, pd.DataFrame({"image": []}))) == 0


def test_a_package_is_served_with_the_settings_it_was_trained_with_and_by_one_process(tmp_path):
    a_card(runtime={"dtype": "bfloat16", "threads": 3, "workers": 2, "processes": 4}).write(tmp_path / "model.json")
    runtime = predictor.serving_runtime(tmp_path)
    assert (runtime.dtype, runtime.threads) == ("bfloat16", 3)
