"""Nouns of tune and train: zoo, engine, checkpoint, search."""
