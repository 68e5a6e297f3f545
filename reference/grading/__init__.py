"""Grades a class: submissions held to a reference solution, with partial credit, in safety."""
