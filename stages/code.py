"""Stage code: write down which modules and library versions compute each stage's results."""

import sys

from podium.config.params import Params
from podium.console.shell import run_stage
from podium.core.layout import Layout


def main(params: Params, layout: Layout) -> None:
    """Writes one small file a stage."""
    from podium.pipeline.code import write_code

    write_code(layout)


if __name__ == "__main__":
    sys.exit(run_stage(main))
