"""What a function may be given: shapes by the names of its arguments, and who gets what."""

from reference.checks.reading.binding import bindings
from reference.checks.reading.choices import LayoutRequest
from reference.checks.reading.requests import layouts

__all__ = ["LayoutRequest", "bindings", "layouts"]
