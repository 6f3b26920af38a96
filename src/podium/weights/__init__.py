"""Pretrained weights as pinned inputs: found, downloaded, verified, converted, described."""
