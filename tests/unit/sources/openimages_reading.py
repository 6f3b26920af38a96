"""Reading the small Open Images of tests: through the source, from the loopback site."""

from pathlib import Path
from typing import Any

import pytest

from podium.config.dataset import Fetch, OpenImagesDataset
from podium.core.errors import DataError
from podium.sources.openimages import read_openimages
from podium.sources.source import Listing
from tests.fake_openimages import World
from tests.site import Site

PATIENT, ONE_TRY = Fetch(retries=3, timeout_seconds=5, connections=4), Fetch(retries=0, timeout_seconds=5)
LABELS = {"person": ["Person", "Man", "Woman"], "animal": ["Dog"], "object": ["Car", "Salt, pepper"]}


def dataset(site: Site, **more: Any) -> OpenImagesDataset:
    given = {"location": f"{site.url}/openimages", "images": f"{site.url}/bucket", "licence": "CC-BY-4.0"}
    return OpenImagesDataset.model_validate({**given, "labels": LABELS, **more})


def listing(site: Site, folder: Path, fetch: Fetch = PATIENT, **more: Any) -> Listing:
    source = read_openimages(dataset(site, **more), fetch, folder)
    return source.listing


def of_train(site: Site, world: World, folder: Path, **more: Any) -> Listing:
    world.put_on(site)
    return listing(site, folder, subsets=["train"], **more)


def refusal(site: Site, folder: Path, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        listing(site, folder, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bring(
    site: Site, folder: Path, fetch: Fetch = PATIENT, **more: Any
) -> tuple[list[str], dict[str, str], set[bytes]]:
    """Paths that can be read, reasons for the others, and the bytes read."""
    source = read_openimages(dataset(site, **more), fetch, folder)
    ready = source.prepare(source.listing.images)
    return (
        sorted({i.path for i in ready.images}),
        {s.path: s.reason for s in ready.skipped},
        {source.read(i.path) for i in ready.images},
    )
