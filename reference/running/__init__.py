"""Many problems: blocks, workers, the store that survives them, and the report at the end."""
