"""Formulas written in plain text, as a terminal shows them, set as mathematics.

`δz1 = δh1 · (1 − h1²)` becomes LaTeX and then MathML. What is no formula (quotes, code) stays
code: nothing is guessed.
"""

import re

from markupsafe import Markup

from reports.clip import visible
from reports.formula import math

LONGEST = 400

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀᵗⁿʸᶻˣ⁄ᵏ", "0123456789+-TtnyzxXk", strict=False)) | {"⁄": "/"}
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₕᵢⱼₖₗₘₙₒₚₛₜₓ", "0123456789+-aehijklmnopstx", strict=True)) | {
    "₍": "(",
    "₎": ")",
}
FUNCTION_NAMES = frozenset(
    "tanh sinh cosh exp log sin cos erf erfc sign max min mean sum clip softmax sigmoid relu sqrt "
    "float32 reshape logsumexp softplus gelu abs int".split()
)
_GREEK = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon",
    "η": r"\eta", "θ": r"\theta", "κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "ν": r"\nu",
    "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma", "τ": r"\tau", "φ": r"\varphi", "ψ": r"\psi",
    "ω": r"\omega", "Δ": r"\Delta", "Φ": r"\Phi", "Σ": r"\sum", "Π": r"\prod", "∂": r"\partial",
}  # fmt: skip
_SIGNS = {
    "·": r"\cdot ", "×": r"\times ", "−": "-", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
    "→": r"\to ", "∞": r"\infty ", "√": r"\sqrt", "…": r"\ldots ", "′": "'", "½": r"\tfrac{1}{2}",
    "¼": r"\tfrac{1}{4}", "⊙": r"\odot ", "∘": r"\circ ", "₊": "_{+}", "<": "<", ">": ">",
    "≈": r"\approx ", "∈": r"\in ", "±": r"\pm ",
}  # fmt: skip
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e[-−+]?\d+)?)"
    r"|(?P<name>[A-Za-zα-ωΑ-Ω∂][A-Za-zα-ωΑ-Ω∂0-9_]*(?:\.[A-Za-z_]\w*)*)"
    r"|(?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀᵗⁿʸᶻˣᵏ]+)"
    r"|(?P<lowered>[₀₁₂₃₄₅₆₇₈₉₋ₐₑₕᵢⱼₖₗₘₙₒₚₛₜₓ₍₎]+)"
    r"|(?P<space>\s+)"
    r"|(?P<sign>.)"
)
_PLAIN = frozenset("+-*/=()[]|,:;!'^{}._")


def formula(text: str) -> Markup:
    """Return a plain formula as MathML, with its text for those who cannot see it."""
    latex = to_latex(text)
    shown = visible(text)
    if latex is None:
        return Markup("<code>{}</code>").format(shown[:LONGEST])
    set_ = math(latex)
    return Markup('<span class="formula" role="math" aria-label="{}">{}</span>').format(shown, set_)


def to_latex(text: str) -> str | None:
    """Return the LaTeX of a plain formula, None where it is none."""
    if not text.strip() or len(text) > LONGEST or any(c in text for c in "\"'`\\#%&$~"):
        return None
    parts: list[str] = []
    tokens = list(_TOKEN.finditer(text.strip()))
    for at, token in enumerate(tokens):
        made = _made(token, tokens[at + 1].group() if at + 1 < len(tokens) else "")
        if made is None:
            return None
        parts.append(made)
    latex = "".join(parts)
    latex = re.sub(r"\\sqrt\s*\((\w+)\)", r"\\sqrt{\1}", latex)
    latex = re.sub(r"\\sqrt(?=[^{(\\])(\w)", r"\\sqrt{\1}", latex)
    latex = re.sub(r"\\sqrt(?![{])", r"\\surd ", latex)
    return latex if _balanced(latex) else None


def _made(token: re.Match[str], following: str) -> str | None:
    kind, text = token.lastgroup, token.group()
    match kind:
        case "number":
            return _number(text)
        case "name":
            return _name(text, following)
        case "raised":
            return "^{" + "".join(_RAISED[c] for c in text) + "}"
        case "lowered":
            return "_{" + "".join(_LOWERED[c] for c in text) + "}"
        case "space":
            return " "
    if text in _SIGNS:
        return _SIGNS[text]
    if text == "*":
        return r"\cdot "
    if text == "_":
        return "_"
    return text if text in _PLAIN else None


def _number(text: str) -> str:
    digits, _, power = text.replace("−", "-").partition("e")
    return digits + (rf"\cdot 10^{{{int(power)}}}" if power else "")


def _name(text: str, following: str) -> str:
    if text in FUNCTION_NAMES:
        return rf"\operatorname{{{text}}} "
    greek = len(text) > 1 and text[0] in "δ∂Σ"
    if greek:
        inner = _name(text[1:], following)
        head = _GREEK[text[0]]
        return f"{head} {inner}"
    if text in _GREEK:
        return _GREEK[text] + " "
    match = re.fullmatch(r"([A-Za-zα-ω])_?(\d+|[a-z])?", text)
    if match and (match[2] is None or match[2].isdigit() or "_" in text):
        base = _GREEK.get(match[1], match[1])
        return f"{base}_{{{match[2]}}}" if match[2] else f"{base} "
    match = re.fullmatch(r"([A-Z])_([a-z]+)", text)  # D_out
    if match:
        return rf"{match[1]}_{{\text{{{match[2]}}}}}"
    if text.lower() in _WORDS:
        return rf"\text{{ {text} }}"
    return rf"\text{{{text}}}"


_WORDS = frozenset(
    "where else for every over the whole batch inside outside range beyond in of and with without "
    "if on twice last the from right one is missing term all entries rows row columns instead by "
    "taken given transposed path lacks sum input passed edge lower upper slope approximation "
    "overwritten".split()
)


def _balanced(latex: str) -> bool:
    depth = 0
    for c in latex:
        depth += (c == "{") - (c == "}")
        if depth < 0:
            return False
    return depth == 0
