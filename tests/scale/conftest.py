"""One Ray cluster for all tests here: starting it takes seconds. The last test of `test_ray` ends it."""

import pytest

from tests.ray_cluster import add_node, ray_cluster
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
def running_cluster(bucket):
    with ray_cluster(2) as running:
        yield running


@pytest.fixture
def cluster(running_cluster):
    """Two nodes, whatever an earlier test has lost."""
    while len(running_cluster.worker_nodes) < 2:
        add_node(running_cluster)
    return running_cluster
