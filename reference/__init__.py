"""The reference check. `check(target)` checks a gradient that a user wrote."""

__all__ = ["check"]


def __getattr__(name: str) -> object:
    """Import `check` when it is asked for: what it needs takes time to load."""
    if name == "check":
        from reference.checks.checker import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
