"""Open Images from a server laid out like the real ones, from a real S3 server, and from a folder of FiftyOne's."""

import random
from pathlib import Path

import pytest

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.sources.openimages import read_openimages
from podium.sources.openimages_files import bucket_address
from tests.fake_openimages import BOXES, box, jpeg, small_world, world_of
from tests.site import Site
from tests.unit.sources.openimages_reading import ONE_TRY, PATIENT, bring, dataset, listing, refusal

TRAIN = BOXES["train"]
A, B, C = "00000000000000aa", "00000000000000bb", "00000000000000cc"


def test_photographs_are_downloaded_once_and_only_the_chosen_ones(site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.put_on(site)
    paths, missing, data = bring(site, tmp_path, limit_per_class=2)
    asked = [p for p in site.asked() if p.startswith("/bucket")]
    assert sorted(asked) == [f"/bucket/{path}" for path in paths] and missing == {}
    assert data <= {d for images in world.images.values() for d in images.values()}
    site.log.clear()
    assert bring(site, tmp_path, limit_per_class=2) == (paths, {}, data)
    assert site.log == []


def test_a_photograph_the_bucket_lacks_is_left_out_with_the_reason(site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.put_on(site)
    gone = next(iter(world.images["test"]))
    del site.files[f"/bucket/test/{gone}.jpg"]
    paths, missing, _ = bring(site, tmp_path)
    assert missing == {f"test/{gone}.jpg": "the server answered 404 Not Found"}
    assert f"test/{gone}.jpg" not in paths and len(paths) == 35


@pytest.mark.parametrize("seed", range(8))
def test_wherever_downloads_are_cut_the_result_is_the_same(seed: int, site: Site, tmp_path: Path) -> None:
    small_world().put_on(site)
    expected = bring(site, tmp_path / "whole")
    rng = random.Random(seed)
    for path in rng.sample(sorted(site.files), 8):
        site.cuts[path] = [rng.randrange(len(site.files[path])) for _ in range(2)]
    assert bring(site, tmp_path / "cut") == expected


def test_a_table_that_was_cut_is_not_taken_for_whole_by_the_next_run(site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.put_on(site)
    path = f"/openimages/{TRAIN}"
    site.cuts[path] = [1_000, 0]
    with pytest.raises(DataError, match="the 1,000 bytes so far are kept"):
        listing(site, tmp_path, ONE_TRY)
    expected = listing(site, tmp_path / "other")
    site.log.clear()
    assert listing(site, tmp_path) == expected
    assert [h["Range"] for _, p, h in site.log if p == path] == ["bytes=1000-"]


def test_a_server_that_stays_away_stops_the_stage_and_what_came_is_kept(site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.put_on(site)
    paths, _, _ = bring(site, tmp_path / "whole")
    site.statuses[f"/bucket/{paths[20]}"] = [503] * 10
    with pytest.raises(DataError, match=r"cannot be downloaded \(it answered 503.*the files that came so far are kept"):
        bring(site, tmp_path / "new", Fetch(retries=1, connections=1, timeout_seconds=5))
    site.log.clear()
    site.statuses.clear()
    bring(site, tmp_path / "new")
    assert sorted(site.asked()) == [f"/bucket/{path}" for path in paths[20:]]


def test_tables_of_a_wrong_address_are_one_line(site: Site, tmp_path: Path) -> None:
    said = refusal(site, tmp_path)
    assert (
        "/openimages/v7/oidv7-class-descriptions-boxable.csv cannot be downloaded (the server answered 404" in said
        and "dataset.location" in said
    )


def test_a_real_s3_bucket_is_read_without_credentials(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(name, value)
    world = small_world(4)
    world.put_on(site)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="open-images-dataset", ACL="public-read")
        gone, private = sorted(world.images["test"])[:2]
        for subset, images in world.images.items():
            for name, data in images.items():
                if name != gone:
                    acl = "private" if name == private else "public-read"
                    client.put_object(Bucket="open-images-dataset", Key=f"{subset}/{name}.jpg", Body=data, ACL=acl)
        paths, missing, data = bring(site, tmp_path, images=f"http://{host}:{port}/open-images-dataset")
    finally:
        server.stop()
    assert sorted(missing) == [f"test/{gone}.jpg", f"test/{private}.jpg"]
    assert "404" in missing[f"test/{gone}.jpg"] and "403" in missing[f"test/{private}.jpg"]
    assert len(paths) == 10 and len(data) == len(set(data))


def test_a_bucket_may_be_given_by_its_s3_name() -> None:
    assert bucket_address("s3://open-images-dataset") == "https://open-images-dataset.s3.amazonaws.com"
    assert bucket_address("s3://mirror/oi/") == "https://mirror.s3.amazonaws.com/oi"
    assert bucket_address("https://host/oi/") == "https://host/oi"


# --- a folder that was downloaded before ---------------------------------------------------------------------------


def test_a_downloaded_folder_gives_the_images_of_the_servers(site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.put_on(site)
    world.put_in(tmp_path / "oi")
    expected = listing(site, tmp_path / "downloads", limit_per_class=6)
    source = read_openimages(
        dataset(site, location=str(tmp_path / "oi"), limit_per_class=6), PATIENT, tmp_path / "unused"
    )
    assert source.listing.images == expected.images
    path = source.listing.images[0].path
    subset, _, name = path.partition("/")
    assert source.read(path) == world.images[subset][name.removesuffix(".jpg")]
    assert not (tmp_path / "unused").exists()


def test_photographs_that_were_not_downloaded_are_no_images(site: Site, tmp_path: Path) -> None:
    """FiftyOne keeps the whole table beside the photographs of a few classes."""
    world = small_world()
    for name in sorted(world.images["train"])[:8]:
        del world.images["train"][name]
    world.put_in(tmp_path)
    found = listing(site, tmp_path, location=str(tmp_path), limit_per_class=3)
    train = [i for i in found.images if i.split == "train"]
    assert len(train) == 9 and {i.path[6:22] for i in train} <= set(world.images["train"])


def test_photographs_without_a_chosen_box_and_other_files_are_left_out(site: Site, tmp_path: Path) -> None:
    world = world_of(*[box(A, name, (0, n / 10, 1, 1)) for n, name in enumerate(("Man", "Dog", "Car"))])
    world.images["train"][C] = jpeg(7)
    world.put_in(tmp_path)
    (tmp_path / "train" / "data" / "notes.txt").write_text("x")
    found = listing(site, tmp_path, location=str(tmp_path), subsets=["train"])
    said = f"1 photographs have no box of the chosen classes, the first is {C}"
    assert [(s.path, s.reason) for s in found.skipped] == [("train/data", said)]


@pytest.mark.parametrize(("name", "split"), [("train", "train"), ("validation", "val"), ("my-part", "")])
def test_one_subset_alone(name: str, split: str, site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.put_in(tmp_path)
    (tmp_path / "train").rename(tmp_path / "moved")
    place = tmp_path / "alone" / name
    place.parent.mkdir()
    (tmp_path / "moved").rename(place)
    for file in ("labels/detections.csv", "metadata/classes.csv"):  # right beside the photographs is fine too
        (place / file).rename(place / Path(file).name)
    (place / "metadata" / "image_ids.csv").unlink()
    found = listing(site, tmp_path, location=str(place))
    assert {i.split for i in found.images} == {split}
    assert {i.licence for i in found.images} == {""}


INCOMPLETE = {
    "nothing": ([], "does not exist"),
    "no photographs": (["train/labels/detections.csv"], "holds no photographs of Open Images"),
    "no boxes": (["train/data/x.jpg", "train/metadata/classes.csv"], "has no labels/detections.csv"),
    "no classes": (["train/data/x.jpg", "train/labels/detections.csv"], "has no metadata/classes.csv"),
}


@pytest.mark.parametrize(("files", "said"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_an_incomplete_folder_is_one_line(files: list[str], said: str, site: Site, tmp_path: Path) -> None:
    for file in files:
        path = tmp_path / "oi" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert said in refusal(site, tmp_path, location=str(tmp_path / "oi"))
