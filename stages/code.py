"""Stage code: write down what computes each stage's results and who teaches whom; clear away models that left."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout) -> None:
    """Writes one small file a stage, and one a model."""
    from podium.pipeline.code import check_networks, write_code

    check_networks(layout, params.models, params.preprocess.image_size)
    write_code(layout, params.models, params.distil)


if __name__ == "__main__":
    sys.exit(run_stage(main))
