"""Nouns of evaluate and compare: metrics, statistics, plots."""
