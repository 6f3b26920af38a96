from podium.config.validate import Validate
from podium.curation.expectations.leakage import first_weights_unseen
from tests.dataset_facts import facts, judged, manifest


def test_images_that_own_weights_were_trained_on_are_named_with_those_of_their_group() -> None:
    frame = manifest()
    frame["photo_sha256"] = [f"{number:016x}" + "0" * 48 for number in range(len(frame))]
    rows = {split: frame.index[frame["split"] == split] for split in ("train", "val", "test")}
    frame.loc[rows["test"][1], "split_group"] = frame.loc[rows["test"][0], "split_group"]
    seen = frame.loc[[*rows["train"], rows["val"][2], rows["test"][0]], "photo_sha256"].str[:16].tolist()

    found = facts(frame, trained_on={"a": seen, "b": ["f" * 16]})
    broken, observed, images = judged(first_weights_unseen(found, Validate()))

    assert broken == ["images seen by the weights of a"]
    assert observed == "3 by the weights of a"
    assert images.paths == sorted(frame.loc[[rows["val"][2], rows["test"][0], rows["test"][1]], "path"])


def test_weights_that_saw_training_images_alone_and_weights_of_others_pass() -> None:
    frame = manifest()
    frame["photo_sha256"] = [f"{number:016x}" + "0" * 48 for number in range(len(frame))]
    train = frame.loc[frame["split"] == "train", "photo_sha256"].str[:16].tolist()
    for trained_on in ({}, {"a": train}, {"a": train, "b": ["f" * 16]}):
        assert judged(first_weights_unseen(facts(frame, trained_on=trained_on), Validate()))[0] == []
