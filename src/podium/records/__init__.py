"""The JSON documents that stages write for each other, as frozen types."""
