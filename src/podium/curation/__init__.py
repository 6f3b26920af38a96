"""Nouns of preprocess and validate: duplicates, splits, profile, expectations."""
