"""How a problem is drawn: its structure, its value regimes, and the kinks to aim at."""
