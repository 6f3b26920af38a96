"""Stage evaluate@m: open the test split once and measure one trained model on it."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout, model: str) -> None:
    """Evaluates one model."""
    from podium.pipeline.evaluate import evaluate_model

    evaluate_model(layout, model, params.evaluate, params.runtime, params.seed)


if __name__ == "__main__":
    sys.exit(run_stage(main))
