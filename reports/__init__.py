"""Plain records in, pages out: imports neither torch, jax, NumPy nor the reference check."""
