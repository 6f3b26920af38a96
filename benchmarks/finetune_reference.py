"""Fine-tuning against the reference recipe: ImageFolder, torchvision v2, two workers, a float32 loop.

`PODIUM_REAL_DATA=<folder with the archives> python -m benchmarks.finetune_reference`
"""

import sys

from benchmarks.finetune import compare

if __name__ == "__main__":
    sys.exit(compare("reference", "ImageFolder, torchvision v2, two workers, float32", target=2.5))
