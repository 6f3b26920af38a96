"""Augmentation of a batch: `draw` gives one explicit, frozen object, and `apply`, a pure function, applies it.

What is drawn hangs on the generator alone, never on a worker or on earlier draws. The result hangs on the images and
the drawn object alone, and is computed for the whole batch at once on the device it lies on.
"""
