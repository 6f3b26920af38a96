"""Fine-tuning against the best hand-written loop: the reference recipe, with bfloat16, channels_last and fused AdamW.

`PODIUM_REAL_DATA=<folder with the archives> python -m benchmarks.finetune_expert`
"""

import sys

from benchmarks.finetune import compare

if __name__ == "__main__":
    sys.exit(
        compare("expert", "ImageFolder, torchvision v2, workers, bfloat16, channels_last, fused AdamW", target=1.2)
    )
