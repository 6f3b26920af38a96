"""What people look at: the results as one HTML page, plots, a picture of the augmentations."""
