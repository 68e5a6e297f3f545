"""Ball arithmetic: numbers that carry their own proven error, and operations evaluated on them."""
