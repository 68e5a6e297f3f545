"""The judge on trial: sensitivity, mutants, false alarms, accuracy, and what cannot be seen."""
