"""Random changes of a batch as one explicit, frozen object (`draw`), and the pure function that applies them (`apply`).

What is drawn hangs on the generator alone, never on a worker or on earlier draws. The result hangs on the images and
the drawn object alone, and is computed for the whole batch at once on the device it lies on. Depends on numpy, torch.
"""

from podium.data.augment.applying import apply, normalise
from podium.data.augment.change import Augmentation, unchanged
from podium.data.augment.drawing import draw

__all__ = ["Augmentation", "apply", "draw", "normalise", "unchanged"]
