"""The sections of `params.yaml` as frozen, typed classes; defaults stand here."""
