"""Nouns of publish and the command line: MLflow, packages of models, promotion."""
