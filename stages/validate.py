"""Stage validate: hold the dataset against its expectations; a critical failure stops the experiment."""

import sys

from podium.core.config.params import Params
from podium.core.layout import Layout
from podium.core.shell import run_stage


def main(params: Params, layout: Layout) -> None:
    """Validates the prepared dataset."""
    from podium.pipeline import validate

    validate.run(layout, params.validate_, params.seed)


if __name__ == "__main__":
    sys.exit(run_stage(main))
