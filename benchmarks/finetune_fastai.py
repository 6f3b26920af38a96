"""Fine-tuning against fastai's `vision_learner` (needs the extra: `pip install -e '.[bench]'`).

`PODIUM_REAL_DATA=<folder with the archives> python -m benchmarks.finetune_fastai`
"""

import sys

from benchmarks.finetune import compare

if __name__ == "__main__":
    sys.exit(compare("fastai", "fastai's vision_learner, unfrozen", target=2.5))
