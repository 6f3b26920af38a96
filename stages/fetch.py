"""Stage fetch: bring images and pretrained weights here, unpacked safely and pinned by hash. The only stage online."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout) -> None:
    """Fetches the dataset and every model's weights."""
    from podium.pipeline.fetch import fetch_dataset

    fetch_dataset(layout, params.dataset, params.fetch, params.models)


if __name__ == "__main__":
    sys.exit(run_stage(main))
