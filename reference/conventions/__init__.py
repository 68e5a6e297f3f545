"""The ledger: what each implementation answers at kinks, ends and edges, discovered."""
