"""timm and torchvision import beside a CPU build of torch, and nothing happens before somebody asks for them."""

import subprocess
import sys


def test_torchvision_and_timm_import_in_a_new_process():
    code = "from podium.core.vision import timm, torchvision; print(torchvision.__version__, timm.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2


def test_importing_podium_alone_loads_neither_torch_nor_mlflow_and_hooks_nothing():
    code = (
        "import sys; before = list(sys.meta_path)\n"
        "import podium, podium.config.params\n"
        "print([m for m in ('torch', 'mlflow', 'rich') if m in sys.modules], sys.meta_path == before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"
