"""One Ray cluster for all tests here: starting it takes seconds. The last test of `test_ray` ends it."""

import pytest

from tests.ray_cluster import ray_cluster
from tests.servers import s3


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
    """A bucket that the nodes reach, since they start after it."""
    with s3("nodes") as variables, pytest.MonkeyPatch.context() as patch:
        variables |= {"AWS_ENDPOINT_URL": variables["MLFLOW_S3_ENDPOINT_URL"]}
        for name, value in {**variables, "PODIUM_CACHE": str(tmp_path_factory.mktemp("cache"))}.items():
            patch.setenv(name, value)
        yield "s3://nodes/podium"


@pytest.fixture(scope="session")
def cluster(bucket):
    with ray_cluster(2) as running:
        yield running
