"""A badge (SVG) with the run's verdict, for a README."""

from html import escape

from reports.summary import Summary

_STATES = {"right": ("#0b6b4f", "✓"), "open": ("#7a5900", "?"), "wrong": ("#a3122f", "✕")}


def render_badge(summary: Summary) -> str:
    """Return the badge: "gradients | ✓ 2,000 right"."""
    colour, mark = _STATES[summary.state]
    done = f"{summary.checked:,}"
    message = {
        "right": f"{mark} {done} right",
        "open": f"{mark} {done} checked, some open",
        "wrong": f"{mark} {summary.wrong:,} of {done} wrong",
    }[summary.state]
    return badge("gradients", message, colour)


def badge(label: str, message: str, colour: str) -> str:
    """Return a badge of two fields as SVG."""
    left, right = 13 + 6.4 * len(label), 13 + 6.4 * len(message)
    width = round(left + right)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        f'aria-label="{escape(label)}: {escape(message)}">'
        f"<title>{label}: {escape(message)}</title>"
        f'<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left:.0f}" height="20" fill="#3b4250"/>'
        f'<rect x="{left:.0f}" width="{width - round(left)}" height="20" fill="{colour}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" '
        'font-size="11">'
        f'<text x="{left / 2:.0f}" y="14">{label}</text>'
        f'<text x="{left + right / 2:.0f}" y="14">{escape(message)}</text></g></svg>\n'
    )
