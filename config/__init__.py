"""Data only: default settings, routing rules and model cards. Read through importlib.resources, never imported for code."""
