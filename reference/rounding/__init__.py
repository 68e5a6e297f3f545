"""The model of rounding: how far from the truth an answer may be, and the evidence of a verdict."""
