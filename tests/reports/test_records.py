"""Records: round trip, the same bytes, and clear errors for what is not a record."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from examplereport import example_records
from hypothesis import given
from hypothesis import strategies as st

from reports.records import (
    SCHEMA_VERSION,
    Accuracy,
    AnyRecord,
    Case,
    Cell,
    Enclosure,
    Finding,
    NetworkShape,
    ReportError,
    Run,
    TrialRow,
    decade,
    decode,
    decode_all,
    encode,
    encode_all,
    in_order,
    json_schema,
)

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def same(a: AnyRecord, b: AnyRecord) -> bool:
    """Whether two records are equal with NaN equal to NaN."""
    return type(a) is type(b) and encode(a) == encode(b)


def test_every_record_survives_the_round_trip() -> None:
    for record in example_records(2_000):
        assert same(decode(encode(record)), record)


@given(NUMBERS, st.text(), st.lists(NUMBERS, max_size=4))
def test_any_number_and_text_survive(number: float, text: str, numbers: list[float]) -> None:
    text = text.encode("utf-8", "replace").decode()
    cell = Cell(activation=text, loss=text, dtype="float64", regime="", n=1, worst_scaled=number)
    assert same(decode(encode(cell)), cell)
    accuracy = Accuracy(
        operation=text, kind="", quantity="value", dtype="", implementation="", worst_ulp=number,
        inputs=tuple(numbers), errors=tuple(numbers),
    )  # fmt: skip
    assert same(decode(encode(accuracy)), accuracy)
    assert b"\n" not in encode(accuracy)


def test_a_line_is_json_that_any_reader_takes() -> None:
    row = TrialRow(section="s", row="r", columns={"b": float("nan"), "a": float("-inf")})
    found = json.loads(encode(row), parse_constant=lambda _: pytest.fail("not JSON"))
    assert found["columns"] == {"b": "nan", "a": "-inf"}
    assert list(found["columns"]) == ["b", "a"], "the order of a table's columns is kept"


def test_numpy_scalars_are_taken_for_numbers() -> None:
    n, worst = np.int64(3), np.float64("nan")
    cell = Cell(activation="a", loss="l", dtype="d", regime="r", n=n, worst_scaled=worst)
    found = decode(encode(cell))
    assert isinstance(found, Cell) and found.n == 3 and math.isnan(found.worst_scaled)


def test_the_order_of_making_does_not_matter() -> None:
    records = example_records(2_000)
    cells = [record for record in records if isinstance(record, Cell)]
    others = [record for record in records if not isinstance(record, Cell)]
    assert list(encode_all(records)) == list(encode_all([*others, *reversed(cells)]))
    assert isinstance(in_order(reversed(records))[0], Run)


def test_keys_are_sorted_whatever_their_order_in_memory() -> None:
    def cell(verdicts: dict[str, int]) -> bytes:
        return encode(Cell(activation="", loss="", dtype="", regime="", n=2, verdicts=verdicts))

    assert cell({"AGREE": 1, "CONVENTION": 1}) == cell({"CONVENTION": 1, "AGREE": 1})


RUN = b'{"type":"run","command":"c","seed":0,"problems":1}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "empty"),
        ([b"{"], "line 1: not a record"),
        ([b"[]"], "line 1: not a record"),
        ([b"\xff\xfe"], "line 1: not a record"),
        ([b"[" * 100_000], "line 1: not a record"),
        ([b'{"type":"run","seed":0}'], "missing required field `command`"),
        ([b'{"type":"wombat"}'], "line 1: not a record: Invalid value 'wombat'"),
        ([RUN, RUN], "line 2: only the first record is a run"),
        ([b'{"type":"limit","title":"","text":""}'], "line 1: expected the run first"),
        ([RUN[:-1] + b',"schema":999}'], "schema version 999 is newer than"),
        ([b'{"type":"run","schema":999,"other":{}}'], "schema version 999 is newer than"),
        ([RUN, b'{"type":"cell","n":"x"}'], "line 2: not a record"),
        ([RUN[:-1] + b',"problems":1e999}'], "line 1: not a record"),
    ],
)
def test_what_is_not_a_record_is_one_clear_line(lines: list[bytes], message: str) -> None:
    with pytest.raises(ReportError) as error:
        decode_all(lines)
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_numbers_nested_without_end_are_refused() -> None:
    case = encode(Case(at="0:0", network=NetworkShape(input_width=1, layers=(), loss=""), batch=1,
                       dtype="", values={"x": ["1"]}))  # fmt: skip
    deep = case.replace(b'["1"]', b"[" * 2_000 + b"]" * 2_000)
    line = encode(_finding()).replace(case, deep)
    with pytest.raises(ReportError):
        decode(line)


def _finding() -> Finding:
    case = Case(at="0:0", network=NetworkShape(input_width=1, layers=(), loss=""), batch=1,
                dtype="", values={"x": ["1"]})  # fmt: skip
    return Finding(operation="", verdict="AGREE", count=1, example=case)


def test_fields_of_a_later_minor_version_are_passed_over() -> None:
    found = decode(RUN[:-1] + b',"shoe_size":43}')
    assert isinstance(found, Run) and found.problems == 1


def sorted_inside(schema: Any) -> Any:
    """Return a schema with its alternatives sorted: msgspec's order changed in 0.22."""
    if isinstance(schema, list):
        return sorted((sorted_inside(one) for one in schema), key=json.dumps)
    if isinstance(schema, dict):
        return {name: sorted_inside(value) for name, value in schema.items()}
    return schema


def test_the_committed_schema_is_current() -> None:
    committed = Path(__file__).parents[2] / "reports" / "schema.json"
    assert sorted_inside(json.loads(committed.read_text())) == sorted_inside(
        json.loads(json_schema())
    ), (
        "write it again: python -c 'from reports.records import json_schema; "
        'print(json_schema(), end="")\' > reports/schema.json'
    )
    assert str(SCHEMA_VERSION) in json.loads(json_schema())["title"]


def test_records_cannot_be_changed() -> None:
    run = decode(RUN)
    with pytest.raises(AttributeError):
        run.seed = 1  # type: ignore[misc, union-attr]
    assert msgspec.structs.replace(run, seed=1) != run


@pytest.mark.parametrize(
    ("scaled", "key"),
    [(0.0, "zero"), (1e-16, "-16"), (3e-7, "-7"), (1.0, "0"), (float("nan"), "nonfinite")],
)
def test_decades(scaled: float, key: str) -> None:
    assert decade(scaled) == key


@pytest.mark.parametrize(
    ("low", "brief"),
    [
        ("-5.6300993850288068173134638536098e-51", "-5.6300993850288068173e-51"),
        ("0.21339421764295926791451503302525", "0.21339421764295926791"),
        ("1.5e+300", "1.5e+300"),
        ("-301510315144391721620762.5", "-3.0151031514439172162e+23"),
        ("undefined", "undefined"),
    ],
)
def test_a_proven_value_in_brief_keeps_its_exponent(low: str, brief: str) -> None:
    assert Enclosure(low=low, high=low).brief == brief
    assert len(Enclosure(low="9" * 10**6 + "e" + "9" * 10**6, high="").brief) < 40
