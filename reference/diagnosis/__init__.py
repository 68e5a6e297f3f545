"""Which mistake makes this wrong gradient: the catalogue, the search, and words where none fits."""
