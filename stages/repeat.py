"""Stage repeat@m: train one model again with each further seed, with the tuned values of the one study."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout, model: str) -> None:
    """Trains one model with the further seeds."""
    from podium.pipeline.repeat import repeat_training
    from podium.tracking.live import LiveView

    repeat_training(
        layout,
        model,
        params.further_seeds,
        config=params.complete(model),
        runtime=params.runtime,
        resources=params.resources,
        callbacks=lambda: [LiveView(layout, params.experiment)],
    )


if __name__ == "__main__":
    sys.exit(run_stage(main))
