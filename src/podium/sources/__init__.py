"""Where images come from. All network I/O for images happens here; that for weights in `podium.weights`."""
