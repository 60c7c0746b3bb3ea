"""Model cards and their weights."""
