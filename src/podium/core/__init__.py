"""What every room stands on: errors, files, where they lie, identity. It knows nothing of images or models."""
