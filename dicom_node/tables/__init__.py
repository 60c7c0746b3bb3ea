"""What the node knows: one family of tables a file, and views over several.

A row is a frozen dataclass. What passes between the steps, or is made by who knows no tables, stands in `entities.py`;
what only callers of one table or view see stands in its file. Texts, JSON and 0 or 1 are of `rows.py`: whoever calls
these functions gives and gets times, paths, enums and tuples.
"""
