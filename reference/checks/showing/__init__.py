"""What is shown of a wrong gradient: its lines, the smallest problem, a script."""

from reference.checks.showing.showing import own_lines, shown

__all__ = ["own_lines", "shown"]
