"""How paths are called in sentences: self.W, params["W1"], dx."""

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
    """Return what a gradient is called: its own name, or d and what it is of."""
    if claim[0] == "step":
        return f"the step of {path_name(claim)}"
    if claim[-1] == "" or all(part.isdigit() for part in claim):
        named = leaf[-1:] if "self" in leaf and not leaf[-1].isdigit() else leaf
        return f"d{path_name(tuple(p for p in named if p != 'self'))}"
    return path_name(claim)
