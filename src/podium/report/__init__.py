"""What people look at: the results and the validation as HTML pages, plots, a picture of the augmentations."""
