"""The names of paths in sentences: self.W, params["W1"], dx."""

from reference.checks.routine import Path


def path_name(path: Path) -> str:
    """Return a path as its author would write it: self.W, params["W1"], weights[0]."""
    kept = [p for p in path if p not in ("step", "before")]
    if not kept:
        return ""
    out = kept[0]
    for part in kept[1:]:
        if part.lstrip("-").isdigit():
            out += f"[{part}]"
        elif kept[0] == "self" and out == "self":
            out += f".{part}"
        else:
            out += f"['{part}']" if kept[0] != "self" or "." in out else f".{part}"
    return out


def claim_name(claim: Path, leaf: Path) -> str:
    """Return the name of a gradient: its own, or d and the name of its input."""
    if claim[0] == "step":
        return f"the step of {path_name(claim)}"
    if claim[-1] == "" or claim == ("0",) or (len(claim) == 1 and claim[0].isdigit()):
        return f"d{path_name(leaf)}" if "self" not in leaf else f"d{leaf[-1]}"
    return path_name(claim)
