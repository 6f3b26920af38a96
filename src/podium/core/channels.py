"""Numbers about the colour channels of an image."""

Triple = tuple[float, float, float]
"""One number a channel (red, green, blue), such as the mean or the deviation of pixels in [0, 1]."""
