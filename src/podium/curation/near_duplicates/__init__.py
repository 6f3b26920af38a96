"""Which images show the same picture: a signature of each, pairs that resemble each other, and their verification."""
