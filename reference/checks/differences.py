"""Judges by differences where a forward leaves the tape (C code, float())."""

from reference.checks.experiment import Reading


def judged(reading: Reading, seed: int):
    return None
