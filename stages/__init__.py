"""One script a stage: `python -m stages.NAME`. `dvc.yaml` runs them."""
