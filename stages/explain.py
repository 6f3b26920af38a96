"""Stage explain@m: what speaks for one model's answers on test images, and whether maps that say so are any good."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout, model: str) -> None:
    """Explains one model."""
    from podium.pipeline.explain import explain_model

    explain_model(layout, model, params.explain, params.runtime, params.seed, resources=params.resources)


if __name__ == "__main__":
    sys.exit(run_stage(main))
