"""Stage validate: hold the dataset against its expectations; a critical failure stops the experiment."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout) -> None:
    """Validates the prepared dataset."""
    from podium.pipeline.validate import validate_dataset

    validate_dataset(layout, params.validate_, params.seed)


if __name__ == "__main__":
    sys.exit(run_stage(main))
