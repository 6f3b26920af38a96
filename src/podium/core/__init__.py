"""What every room stands on: errors, params, records, paths, files, identity. It knows nothing of images or models."""
