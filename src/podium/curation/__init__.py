"""What preprocess and validate compute: decoding, near duplicates, splits, profile, probes, expectations."""
