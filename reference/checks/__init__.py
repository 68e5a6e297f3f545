"""A user's own gradient: recognised, run in a process, judged, shrunk, shown by a script."""
