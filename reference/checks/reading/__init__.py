"""What a function may be given: shapes by the names of its arguments, and who gets what."""

from reference.checks.reading.binding import bindings
from reference.checks.reading.choices import LayoutRequest
from reference.checks.reading.requests import layouts, requests
from reference.checks.reading.shapes import Mode, weight_names

__all__ = ["LayoutRequest", "Mode", "bindings", "layouts", "requests", "weight_names"]
