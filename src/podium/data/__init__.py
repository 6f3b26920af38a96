"""What everyone shares: manifest, shards, decoding, resizing, the loader, augmentation."""
