"""index.html."""

from reports.summary import Summary


def render_html(summary: Summary) -> str:
    """Return the page."""
    return "<!doctype html>\n"
