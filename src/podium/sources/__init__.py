"""Nouns of fetch: where images come from. All network I/O of the project happens here."""
