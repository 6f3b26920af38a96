"""Nouns everyone shares: manifest, shards, images, loader, augmentation."""
