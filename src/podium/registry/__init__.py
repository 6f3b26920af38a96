"""What publish and the command line stand on: MLflow, packages of models, gates, promotion."""
