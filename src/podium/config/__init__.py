"""The sections of `params.yaml` as frozen, typed classes, one module a group of sections."""
