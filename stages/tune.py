"""Stage tune@m: a study of the learning rate (and whatever else is listed) on train and val, resumable."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout, model: str) -> None:
    """Tunes one model."""
    from podium.models.distributed import refuse_several_processes
    from podium.models.study import Study
    from podium.pipeline import tune
    from podium.tracking.live import LiveView

    refuse_several_processes("tune", "resources.trials_at_once runs trials side by side")
    tune.tune_model(
        layout,
        model,
        Study(params.complete(model), params.search(model), params.study(model), params.seed, params.warm_start(model)),
        runtime=params.runtime,
        resources=params.resources,
        callbacks=[LiveView(layout, params.experiment)],
    )


if __name__ == "__main__":
    sys.exit(run_stage(main))
