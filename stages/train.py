"""Stage train@m: fit one model with the recipe and the tuned values, resumable at any epoch to the same bytes."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout, model: str) -> None:
    """Trains one model."""
    from podium.pipeline import train
    from podium.tracking.live import LiveView

    train.train_model(
        layout,
        model,
        config=params.complete(model),
        runtime=params.runtime,
        resources=params.resources,
        seed=params.seed,
        callbacks=[LiveView(layout, params.experiment)],
    )


if __name__ == "__main__":
    sys.exit(run_stage(main))
