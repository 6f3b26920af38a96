"""Stage evaluate@m: open the test split once and measure one trained model on it."""

import sys

from podium.core.config.params import Params
from podium.core.layout import Layout
from podium.core.shell import run_stage


def main(params: Params, layout: Layout, model: str) -> None:
    """Evaluates one model."""
    from podium.pipeline import evaluate

    evaluate.run(layout, model, params.evaluate, params.runtime, params.seed)


if __name__ == "__main__":
    sys.exit(run_stage(main))
