"""Verbs: one module a stage. A verb imports nouns, never another verb."""
