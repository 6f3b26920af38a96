import numpy as np
import pytest
import torch

from podium.config.models import Head, Network
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.core.errors import ModelError
from podium.core.files import sha256_file
from podium.data.tensors import save_weights, sha256_tensors
from podium.models import zoo
from podium.models.inference import Classifier, load_classifier
from podium.records.training import ModelCard
from tests.cards import a_card

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
RUNTIME = Runtime(threads=1)


@pytest.fixture
def folder(tmp_path):
    module = zoo.create(Network(architecture="test_resnet"), 3, 4)
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, module.state_dict(), {"format": "pt", "fingerprint": "0" * 64})
    a_card(
        architecture="test_resnet",
        classes=["a", "b", "c"],
        preprocessing=Preprocessing(image_size=32, pad_value=114, max_pixels=10**6),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        head=Head(dropout=0.5),
        weights_sha256=sha256_tensors(weights),
        fingerprint="0" * 64,
    ).write(tmp_path / "model.json")
    return tmp_path


def test_logits_are_the_module_s_own_on_normalised_images(folder):
    module = zoo.create(Network(architecture="test_resnet"), 3, 4).eval()
    x = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    with torch.no_grad():
        expected = module(x)
    classifier = load_classifier(folder, RUNTIME)
    torch.testing.assert_close(torch.from_numpy(classifier.logits(IMAGES, 4)), expected, atol=1e-4, rtol=1e-4)
    p = classifier.probabilities(IMAGES, 4)
    torch.testing.assert_close(torch.from_numpy(p), expected.softmax(1), atol=1e-5, rtol=1e-4)
    assert p.dtype == np.float32
    assert np.allclose(p.sum(1), 1)


def test_running_out_of_memory_is_one_line_with_the_keys_to_lower(folder, monkeypatch):
    classifier = load_classifier(folder, RUNTIME)
    monkeypatch.setattr(classifier.module, "forward", lambda x: torch.empty(2**58))
    with pytest.raises(
        ModelError,
        match=r"^out of memory: lower evaluate\.batch_size or preprocess\.image_size, or use a smaller network$",
    ):
        classifier.probabilities(IMAGES, 4)


@pytest.mark.parametrize("batch_size", [1, 2, 9, 50])
def test_the_other_images_of_a_batch_change_no_more_than_rounding(folder, batch_size):
    classifier = load_classifier(folder, RUNTIME)
    assert np.allclose(classifier.probabilities(IMAGES, batch_size), classifier.probabilities(IMAGES, 4), atol=1e-6)


def test_the_same_images_give_the_same_bytes_twice(folder):
    a, b = (load_classifier(folder, RUNTIME).probabilities(IMAGES, 4) for _ in range(2))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("runtime", "tolerance"),
    [(Runtime(threads=1, channels_last=True), 1e-5), (Runtime(threads=1, dtype="bfloat16", channels_last=True), 0.05)],
)
def test_layout_and_mixed_precision_give_nearly_the_same(folder, runtime, tolerance):
    expected = load_classifier(folder, RUNTIME).probabilities(IMAGES, 4)
    found = load_classifier(folder, runtime).probabilities(IMAGES, 4)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < tolerance


def test_memory_maps_and_no_images_at_all_are_fine(folder, tmp_path):
    classifier = load_classifier(folder, RUNTIME)
    np.save(tmp_path / "x.npy", IMAGES)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.array_equal(classifier.logits(mapped, 4), classifier.logits(IMAGES, 4))
    assert classifier.probabilities(IMAGES[:0], 4).shape == (0, 3)


def test_features_are_what_the_last_layer_is_given_and_come_with_the_same_answers(folder):
    classifier = load_classifier(folder, RUNTIME)
    probabilities, features = classifier.answers(IMAGES, 4)
    assert np.array_equal(probabilities, classifier.probabilities(IMAGES, 4))
    (layer,) = zoo.classifier_parts(classifier.module)
    logits = features @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    assert np.allclose(logits, classifier.logits(IMAGES, 4), atol=1e-5)
    assert not layer._forward_pre_hooks


@pytest.mark.parametrize("wrong", [IMAGES[:, :16], IMAGES[0], IMAGES.astype(np.float32)])
def test_images_of_another_shape_are_refused(folder, wrong):
    classifier: Classifier = load_classifier(folder, RUNTIME)
    with pytest.raises(ModelError, match=r"takes uint8 images of shape \(N, 32, 32, 3\)"):
        classifier.logits(wrong, 4)


def test_weights_that_are_not_those_of_the_card_are_refused_with_both_digests(folder):
    before = ModelCard.read(folder / "model.json").weights_sha256
    save_weights(folder / "weights.safetensors", zoo.create(Network(architecture="test_resnet"), 3, 5).state_dict(), {})
    with pytest.raises(ModelError) as caught:
        load_classifier(folder, RUNTIME)
    assert before in str(caught.value)
    assert sha256_tensors(folder / "weights.safetensors") in str(caught.value)


def test_a_card_of_version_0_1_has_the_digest_of_the_file(folder):
    card = ModelCard.read(folder / "model.json")
    card.model_copy(update={"weights_sha256": sha256_file(folder / "weights.safetensors")}).write(folder / "model.json")
    assert load_classifier(folder, RUNTIME).card.fingerprint == card.fingerprint


def test_missing_weights_say_what_to_run(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="dvc checkout"):
        load_classifier(folder, RUNTIME)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_cuda_where_there_is_none_is_refused(folder):
    with pytest.raises(ModelError, match=r"runtime\.device is cuda"):
        load_classifier(folder, Runtime(device="cuda"))
