"""The regions of a head that the place of blood is told by (`place` says how)."""

EXTRA_AXIAL, DEEP = "extra-axial", "deep"
