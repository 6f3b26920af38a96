"""Pretrained weights as pinned inputs: found, brought, verified, converted, described. Stands on `core` and `data`."""
