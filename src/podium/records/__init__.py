"""The JSON documents that flow between stages, as frozen types, one module a verb."""
