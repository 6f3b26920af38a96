"""One script a stage: `python -m stages.NAME`. `dvc.yaml` runs them.

The environment may hold the package of another checkout: that of a colleague, or the one that an experiment with
`--temp` or `--queue` was copied from. So this project's own `src` comes first, here and in every process of a stage:
what is fingerprinted is what runs.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

_SOURCE = str(Path(__file__).resolve().parents[1] / "src")

if find_spec("pydantic") is None:
    sys.exit(
        f"error: the libraries of Podium are not installed for {sys.executable}: activate the environment "
        "(source .venv/bin/activate), or run `make repro`"
    )
sys.path.insert(0, _SOURCE)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_SOURCE, os.environ.get("PYTHONPATH"))))
