"""Validates the judge: sensitivity, mutants, false alarms, accuracy, blind spots."""
