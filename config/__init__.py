"""Data only: default settings, routing rules, model cards. Read through importlib.resources, never imported as code."""
