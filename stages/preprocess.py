"""Stage preprocess: decode every image once, group duplicates, split, write shards."""

import sys

from podium.core.config.params import Params
from podium.core.layout import Layout
from podium.core.shell import run_stage


def main(params: Params, layout: Layout) -> None:
    """Prepares the three splits."""
    from podium.pipeline import preprocess

    preprocess.run(layout, params.preprocess, params.seed, workers=params.runtime.workers)


if __name__ == "__main__":
    sys.exit(run_stage(main))
