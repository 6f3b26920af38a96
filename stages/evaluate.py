"""Stage evaluate@m: open the test split once and measure one trained model on it."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout, model: str, on: str = "test") -> None:
    """Evaluates one model; `--on val` measures it on the validation split, writes nothing and opens no other."""
    from podium.pipeline.evaluate import evaluate_model, measure_on_validation

    if on == "val":
        measure_on_validation(layout, model, params.evaluate, params.runtime, params.seed)
    else:
        evaluate_model(
            layout,
            model,
            params.evaluate,
            params.runtime,
            params.seed,
            seeds=params.further_seeds,
            experiment=params.experiment,
            resources=params.resources,
        )


if __name__ == "__main__":
    sys.exit(run_stage(main))
