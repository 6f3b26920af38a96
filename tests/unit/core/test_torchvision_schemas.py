"""`import podium` makes torchvision and timm importable next to a CPU build of torch."""

import subprocess
import sys


def test_torchvision_and_timm_import_after_podium_in_a_new_process():
    code = "import podium, torchvision, timm; print(torchvision.__version__, timm.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2


def test_importing_podium_alone_loads_neither_torch_nor_mlflow():
    code = "import podium, podium.core.config, sys; print([m for m in ('torch', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
