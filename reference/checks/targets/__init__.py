"""Targets: gradients that somebody else wrote, recognised by their form and run apart from us."""
