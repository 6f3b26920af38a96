"""Stage compare: rank the models, test every two against each other, name a winner and the reason."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout) -> None:
    """Compares all models."""
    from podium.pipeline.compare import compare_models

    compare_models(layout, list(params.models), params.compare, params.further_seeds)


if __name__ == "__main__":
    sys.exit(run_stage(main))
