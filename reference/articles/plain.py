"""LaTeX, as far as the articles use it, as one line of plain text for a terminal."""

import re

_SYMBOLS = {
    "partial": "∂", "sigma": "σ", "alpha": "α", "eta": "η", "pi": "π", "sum": "Σ", "cdot": "·",
    "ne": "≠", "in": "∈", "times": "×", "prime": "′", "dots": "…", "quad": "  ", "mathcal": "",
    "mathbb": "", "mathrm": "", "mathrel": "", "text": "", "left": "", "right": "", "bar": "‾",
    "log": "log", "ln": "ln", "tanh": "tanh", "exp": "exp", "delta": "δ",
}  # fmt: skip
_RAISED = str.maketrans("0123456789+-()ijklnTL", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁱʲᵏˡⁿᵀᴸ")
_LOWERED = str.maketrans("0123456789+-()ijkn", "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ᵢⱼₖₙ")


def plain(latex: str) -> str:
    r"""Return the formula as text: \frac{\partial J}{\partial b^{[2]}} becomes ∂J/∂b^[2]."""
    text = latex.replace(r"\hat y", "ŷ").replace(r"\mathcal L", "L")
    return " ".join(_group(text).split())


def _group(latex: str) -> str:
    """Convert from the left; a braced group is converted on its own."""
    out, i = "", 0
    while i < len(latex):
        c = latex[i]
        if c == "\\":
            name = re.match(r"[A-Za-z]+", latex[i + 1 :])
            if not name:  # \, \{ and the like
                out += latex[i + 1] if latex[i + 1] in "{}" else " "
                i += 2
                continue
            i += 1 + len(name.group())
            if name.group() in ("frac", "tfrac", "dfrac"):
                above, i = _argument(latex, i)
                below, i = _argument(latex, i)
                out += _fraction(above, below)
            else:
                out += _SYMBOLS.get(name.group(), name.group())
        elif c in "^_":
            script, i = _argument(latex, i + 1)
            out += _script(script, c)
        elif c == "{":
            inner, i = _argument(latex, i)
            out += inner
        else:
            out += c
            i += 1
    return out


def _argument(latex: str, i: int) -> tuple[str, int]:
    """Return the next argument, converted, and where it ends."""
    while i < len(latex) and latex[i] == " ":
        i += 1
    if i >= len(latex):
        return "", i
    if latex[i] == "\\":
        name = re.match(r"\\([A-Za-z]+|.)", latex[i:])
        length = len(name.group()) if name else 1
        return _group(latex[i : i + length]), i + length
    if latex[i] != "{":
        return latex[i], i + 1
    depth = 0
    for end in range(i, len(latex)):
        depth += {"{": 1, "}": -1}.get(latex[end], 0) if latex[end - 1] != "\\" else 0
        if depth == 0:
            return _group(latex[i + 1 : end]), end + 1
    return _group(latex[i + 1 :]), len(latex)


def _fraction(above: str, below: str) -> str:
    above, below = above.strip(), below.strip()
    above = above.replace("∂ ", "∂")
    below = below.replace("∂ ", "∂")
    # One term needs no brackets: ∂L/∂W, or a letter with its marks.
    top = above if not re.search(r"[-+ ]", above) else f"({above})"
    bottom = below if not re.search(r"[-+ */·(]", below.lstrip("∂")) else f"({below})"
    return f"{top}/{bottom}"


def _script(text: str, mark: str) -> str:
    table = _RAISED if mark == "^" else _LOWERED
    text = text.strip()
    if not text:
        return mark
    if all(ord(letter) in table for letter in text):
        return text.translate(table)
    return f"{mark}{text}" if len(text) == 1 or text.startswith(("[", "(")) else f"{mark}({text})"
