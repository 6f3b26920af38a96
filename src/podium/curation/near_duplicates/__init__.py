"""Which images show the same picture: a signature of each, and the groups of those whose signatures agree."""
