"""Grades a class: submissions compared with a reference solution, with partial credit, safely."""
