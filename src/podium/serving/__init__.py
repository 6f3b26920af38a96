"""A registered version that answers: over HTTP, on labelled images, with a log of what it said."""
