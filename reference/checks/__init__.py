"""Somebody's own gradient: recognised, run apart, judged, shrunk, written out as a script."""
