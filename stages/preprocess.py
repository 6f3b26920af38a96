"""Stage preprocess: decode every image once, group duplicates, split, write shards."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout) -> None:
    """Prepares the three splits."""
    from podium.pipeline.preprocess import preprocess_dataset

    resources = params.resources
    preprocess_dataset(
        layout,
        params.preprocess,
        params.seed,
        resources.workers,
        resources.cluster(layout.root),
        decoded_gib=resources.decoded_gib,
    )


if __name__ == "__main__":
    sys.exit(run_stage(main))
