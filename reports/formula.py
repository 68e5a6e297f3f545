"""LaTeX to MathML, which browsers set without a font, a script or a network."""

from functools import lru_cache
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markupsafe import Markup, escape

from reports.clip import visible

LONGEST = 2_000
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


@lru_cache(maxsize=2048)
def math(latex: str) -> Markup:
    """Return a formula as MathML, or the LaTeX as code where it cannot be converted.

    What the converter makes is read back and only MathML's own elements and attributes pass, so
    a record cannot smuggle markup in.
    """
    latex = "".join(c if c.isprintable() else " " for c in latex[: LONGEST + 1])
    if len(latex) <= LONGEST:
        try:
            # The serialiser escapes text and attributes; the check holds tags to MathML's own.
            root = ElementTree.fromstring(convert(latex))
            if _harmless(root):
                ElementTree.register_namespace("", _NAMESPACE[1:-1])
                return Markup(ElementTree.tostring(root, encoding="unicode"))
        except Exception:
            pass
    return Markup("<code>{}</code>").format(latex[:LONGEST])


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
