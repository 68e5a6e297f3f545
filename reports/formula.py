"""Formulas as MathML, which browsers set without a font, a script or a network.

`math` sets LaTeX. `formula` sets plain text as a terminal shows it: `δz1 = δh1 · (1 − h1²)` becomes
LaTeX first. What is no formula (quotes, code) stays code: nothing is guessed.
"""

import re
from functools import lru_cache
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markupsafe import Markup, escape

MAX_LATEX = 2_000
MAX_PLAIN = 400
_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
_ELEMENTS = frozenset(
    "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover "
    "munderover mtable mtr mtd mstyle mpadded mphantom menclose mmultiscripts mprescripts".split()
)
_ATTRIBUTES = frozenset(
    "display mathvariant stretchy fence separator form lspace rspace width height depth accent "
    "accentunder displaystyle scriptlevel linethickness columnalign rowspacing columnspacing "
    "minsize maxsize symmetric movablelimits columnlines rowlines notation xmlns".split()
)
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Show control characters, and those that turn the direction of text, as what they are: odd."""
    return _INVISIBLE.sub("\ufffd", text)


@lru_cache(maxsize=2048)
def math(latex: str) -> Markup:
    """Return a formula as MathML, or the LaTeX as code where it cannot be converted.

    What the converter makes is read back and only MathML's own elements and attributes pass, so
    a record cannot smuggle markup in.
    """
    latex = "".join(c if c.isprintable() else " " for c in latex[: MAX_LATEX + 1])
    if len(latex) <= MAX_LATEX:
        try:
            # The serialiser escapes text and attributes; the check holds tags to MathML's own.
            root = ElementTree.fromstring(convert(latex))
            if _harmless(root):
                ElementTree.register_namespace("", _NAMESPACE[1:-1])
                return Markup(ElementTree.tostring(root, encoding="unicode"))
        except Exception:
            pass
    return Markup("<code>{}</code>").format(latex[:MAX_LATEX])


def prose(text: str) -> Markup:
    r"""Return text in which \( … \) is set as mathematics and all else is escaped."""
    parts: list[Markup] = []
    rest = visible(text)
    while (start := rest.find(r"\(")) >= 0 and (end := rest.find(r"\)", start)) >= 0:
        parts += [escape(rest[:start]), math(rest[start + 2 : end])]
        rest = rest[end + 2 :]
    parts.append(escape(rest))
    return Markup("").join(parts)


def _harmless(root: ElementTree.Element) -> bool:
    return all(
        isinstance(element.tag, str)
        and element.tag.removeprefix(_NAMESPACE) in _ELEMENTS
        and element.attrib.keys() <= _ATTRIBUTES
        for element in root.iter()
    )


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
    "≈": r"\approx ", "∈": r"\in ", "±": r"\pm ", "*": r"\cdot ",
}  # fmt: skip
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e[-−+]?\d+)?)"
    r"|(?P<name>[A-Za-zα-ωΑ-Ω∂][A-Za-zα-ωΑ-Ω∂0-9_]*(?:\.[A-Za-z_]\w*)*)"
    r"|(?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀᵗⁿʸᶻˣᵏ]+)"
    r"|(?P<lowered>[₀₁₂₃₄₅₆₇₈₉₋ₐₑₕᵢⱼₖₗₘₙₒₚₛₜₓ₍₎]+)"
    r"|(?P<space>\s+)"
    r"|(?P<sign>.)"
)
_PLAIN = frozenset("+-/=()[]|,:;!'^{}._")


def formula(text: str) -> Markup:
    """Return a plain formula as MathML, with its text for those who cannot see it."""
    latex = to_latex(text)
    shown = visible(text)
    if latex is None:
        return Markup("<code>{}</code>").format(shown[:MAX_PLAIN])
    set_ = math(latex)
    return Markup('<span class="formula" role="math" aria-label="{}">{}</span>').format(shown, set_)


def to_latex(text: str) -> str | None:
    """Return the LaTeX of a plain formula, None where it is none."""
    if not text.strip() or len(text) > MAX_PLAIN or any(c in text for c in "\"'`\\#%&$~"):
        return None
    parts: list[str] = []
    for token in _TOKEN.finditer(text.strip()):
        made = _made(token)
        if made is None:
            return None
        parts.append(made)
    latex = "".join(parts)
    latex = re.sub(r"\\sqrt\s*\((\w+)\)", r"\\sqrt{\1}", latex)
    latex = re.sub(r"\\sqrt(?=[^{(\\])(\w)", r"\\sqrt{\1}", latex)
    latex = re.sub(r"\\sqrt(?![{])", r"\\surd ", latex)
    return latex if _balanced(latex) else None


def _made(token: re.Match[str]) -> str | None:
    kind, text = token.lastgroup, token.group()
    match kind:
        case "number":
            return _number(text)
        case "name":
            return _name(text)
        case "raised":
            return "^{" + "".join(_RAISED[c] for c in text) + "}"
        case "lowered":
            return "_{" + "".join(_LOWERED[c] for c in text) + "}"
        case "space":
            return " "
    return _SIGNS.get(text, text if text in _PLAIN else None)


def _number(text: str) -> str:
    digits, _, power = text.replace("−", "-").partition("e")
    return digits + (rf"\cdot 10^{{{int(power)}}}" if power else "")


def _name(text: str) -> str:
    if text in FUNCTION_NAMES:
        return rf"\operatorname{{{text}}} "
    if len(text) > 1 and text[0] in "δ∂Σ":
        return f"{_GREEK[text[0]]} {_name(text[1:])}"
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
