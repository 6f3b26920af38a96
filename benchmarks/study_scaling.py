"""A study on one and on two Ray nodes of one processor each: seconds, and whether both find the same, to the byte.

Command: python -m benchmarks.study_scaling [--trials 8] [--images 1500] [--epochs 6]

The nodes are processes of this machine, each on a processor of its own; it needs two free ones. All trials run all
epochs, and are asked for four at a time: where some end early, a node waits for the last one of its batch. The clock
runs from the first trial's first epoch to the end of the study; what comes before (connecting, importing torch on each
node) is printed beside it.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from podium.config.runtime import Resources
from podium.config.train import Value
from podium.core.files import sha256_file
from podium.core.layout import BEST, Layout
from podium.models.callbacks import Callback, Ending
from podium.models.study import Study
from podium.pipeline.tune import tune_model
from tests.ray_cluster import ray_cluster
from tests.small_splits import RECIPE, RUNTIME, SEARCH, TUNE, a_config, write_prepared, write_project


class Clock(Callback):
    """When trials began and the study ended."""

    def __init__(self) -> None:
        self.begun, self.ended = 0.0, 0.0

    def on_trial_begin(self, number: int, parameters: Mapping[str, Value]) -> None:
        """Of the first trial only."""
        self.begun = self.begun or time.perf_counter()

    def on_train_end(self, ending: Ending) -> None:
        """The study is over."""
        self.ended = time.perf_counter()


def measured(root: Path, study: Study, images: int, nodes: int) -> tuple[float, float, str]:
    """Seconds before the first trial and from there on, and the digest of what was found."""
    layout: Layout = write_project(root)
    shutil.rmtree(layout.prepared)  # the few images of the project
    write_prepared(layout.prepared, train=images, val=images // 4)
    clock = Clock()
    with ray_cluster(nodes, bound=True) as cluster:
        begun = time.perf_counter()
        resources = Resources(executor="ray", address=cluster.address)
        tune_model(layout, "small", study, runtime=RUNTIME, resources=resources, callbacks=[clock])
    return clock.begun - begun, clock.ended - clock.begun, sha256_file(layout.tuning("small") / BEST)


def main() -> int:
    """Prints both and their ratio; exit code 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    settings = TUNE.model_copy(
        update={"trials": given.trials - 1, "epochs": given.epochs, "together": 4, "pruner": "none"}
    )  # and one with the values of params.yaml
    study = Study(a_config(recipe=RECIPE.model_copy(update={"early_stopping": None})), SEARCH, settings, 0)
    found = {}
    with TemporaryDirectory() as folder:
        for nodes in (1, 2):
            found[nodes] = measured(Path(folder) / str(nodes), study, given.images, nodes)
            before, seconds, _ = found[nodes]
            print(
                f"{nodes} nodes: {seconds:.1f} s for {given.trials} trials, after {before:.1f} s of starting",
                flush=True,
            )
    same = found[1][2] == found[2][2]
    print(f"{found[1][1] / found[2][1]:.2f} times as fast; {BEST} is {'the same' if same else 'NOT the same'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
