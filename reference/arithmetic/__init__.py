"""Ball arithmetic: numbers with a rigorous error bound, and operations evaluated on them."""
