"""Stage publish: bring MLflow in line with the files, register the winner once, render the report."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout) -> None:
    """Publishes the experiment."""
    from podium.pipeline.publish import publish_experiment

    publish_experiment(layout, params)


if __name__ == "__main__":
    sys.exit(run_stage(main))
