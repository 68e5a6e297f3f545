"""The reference check: problem → answers → distances → verdict → record."""

__version__ = "0.1.0"
