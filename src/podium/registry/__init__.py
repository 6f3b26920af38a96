"""Nouns of publish and the command line: tracking, package, predictor, versions, gates, audit, report."""
