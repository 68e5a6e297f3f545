"""Records with markup and worse in every text, keys of mappings included."""

from typing import Any

import msgspec
from examplereport import example_records

from reports.records import (
    AnyRecord,
    Case,
    Enclosure,
    LayerShape,
    NetworkShape,
    OracleStatus,
    Record,
)

KINDS_OF_RECORD: tuple[Any, ...] = AnyRecord.__args__
PARTS: tuple[Any, ...] = (Case, Enclosure, LayerShape, NetworkShape, OracleStatus)
FIELDS = {"type", "injected", "killed"} | {
    field for kind in (*KINDS_OF_RECORD, *PARTS) for field in kind.__struct_fields__
}

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "--><!--<img src=x onerror=alert(3)>",
    '"\' onmouseover=alert(4) x="',
    "]]>&lt;b&gt;&#60;b&#62;{{ 7*7 }}{% raw %}",
    "a\nb\r\nc\u2028d\u0000\u001b[31m\u202e",
    r"\text{<script>alert(5)</script>} \href{javascript:alert(6)}{x}",
    "[x](javascript:alert(7)) `|` ``` <b>",
)


def poisoned(value: Any, text: str, root: bool = True) -> Any:
    """Put the text into every free text of a record in plain form, keys of mappings too."""
    if isinstance(value, dict):
        fixed = {"type", "quantity", "status", "schema"}
        return {
            (key if _is_field(key) else key + text): (v if key in fixed else poisoned(v, text))
            for key, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [poisoned(v, text) for v in value]
    return value + text if isinstance(value, str) else value


def _is_field(key: str) -> bool:
    return key in FIELDS


def hostile_records(text: str) -> list[Record]:
    records: list[Record] = []
    for record in example_records(400, findings=9):
        plain = poisoned(msgspec.to_builtins(record), text)
        records.append(msgspec.convert(plain, type(record), strict=False))
    return records
