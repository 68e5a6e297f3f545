"""The derivation book: one chapter an operation, every formula in it checked."""
