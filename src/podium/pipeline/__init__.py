"""One module a stage. A stage imports from the rooms below, never from another stage."""
