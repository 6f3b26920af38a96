"""MLflow: where runs are written, the stores that hold them, the server that a team shares."""
