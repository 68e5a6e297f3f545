"""The record schema of a run: records.jsonl has one JSON object in each line.

Pages are made from these records alone. A record holds nothing that changes when the same seed is
run again on the same machine (no time, no duration), its keys are sorted and the records have a
fixed order, so two such runs give the same bytes. NaN and the infinities, which
JSON lacks, are written as the strings "nan", "inf" and "-inf" and read back as floats.
"""

import json
import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Literal, TypeVar

import msgspec

SCHEMA_VERSION = 3
"""Raised when a record changes so that an older reader would misunderstand it."""
OLDEST_SCHEMA = 2
"""The oldest version that can be read: it has no graphs."""

Status = Literal["ok", "skipped", "crashed"]
Value = float | int | str | None
Nested = list[str | list[str | list[str | list[str]]]]
"""Numbers as repr strings in lists of up to four levels, so that no file can nest without end."""


class ReportError(Exception):
    """A report that cannot be read or written; the message is one line for the user."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A part of a record, or a record (then tagged by `type`)."""


class OracleStatus(Record, frozen=True):
    """One of the compared sides: "manual", "torch", "jax", "complex_step", "certified"."""

    name: str
    version: str = ""
    status: Status = "ok"
    reason: str = ""


class Run(Record, frozen=True, tag="run"):
    """The run and its environment: exactly one in a report, in its first line.

    `command` reproduces the run. `verdicts` maps each spelled verdict to its count over all
    problems. `environment` has what differs between machines (versions, threads, processor).
    """

    command: str
    seed: int
    problems: int
    order: int = 1  # 2: what is compared are Hessian-vector products
    schema: int = SCHEMA_VERSION
    version: str = ""
    dtypes: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    oracles: tuple[OracleStatus, ...] = ()
    verdicts: dict[str, int] = {}
    entries: int = 0  # gradient entries compared
    audited: int = 0  # problems whose final gradients were judged as a whole, too
    unsound: tuple[str, ...] = ()  # what that judgement excludes and the steps admit: our error
    unsound_problems: int = 0  # in how many of the audited problems; `unsound` has the first few
    unfinished: int = 0  # problems asked for and not reached (Ctrl-C): the run can be resumed
    environment: dict[str, str] = {}


class Cell(Record, frozen=True, tag="cell"):
    """Counters for all problems of one activation, loss, dtype and regime; AGREE lives only here.

    For graphs, `architecture` is not "dense", `activation` is the layer that was drawn on purpose,
    and there is no loss.

    `worst_at` is "seed:index". `histogram` counts problems by the decade of their worst scaled
    error: "-16" for [1e-16, 1e-15), "zero" and "nonfinite" (see `decade`).
    """

    activation: str
    loss: str
    dtype: str
    regime: str
    n: int
    architecture: str = "dense"
    verdicts: dict[str, int] = {}
    worst_scaled: float = 0.0
    worst_at: str = ""
    worst_tensor: str = ""
    worst_between: str = ""  # "manual, torch"
    histogram: dict[str, int] = {}


class LayerShape(Record, frozen=True):
    """One dense layer and its activation."""

    width: int
    activation: str
    parameters: dict[str, float] = {}
    bias: bool = True


class NetworkShape(Record, frozen=True):
    """The structure of a network, without its numbers."""

    input_width: int
    layers: tuple[LayerShape, ...]
    loss: str
    loss_parameters: dict[str, float] = {}
    reduction: str = "mean"


class StepShape(Record, frozen=True):
    """One step of a graph: what it applies to which values, and the shape of its value."""

    name: str
    operation: str
    inputs: dict[str, str] = {}
    options: dict[str, str] = {}
    shape: tuple[int, ...] = ()


class GraphShape(Record, frozen=True):
    """The structure of a graph, without its numbers; `given` has the shapes of its input arrays."""

    steps: tuple[StepShape, ...]
    given: dict[str, tuple[int, ...]] = {}
    architecture: str = ""


class Enclosure(Record, frozen=True):
    """The certified value: it lies between the decimals `low` and `high`.

    `thin` is false at a kink, where every slope in between is admissible.
    """

    low: str
    high: str
    digits: int | None = None
    thin: bool = True

    @property
    def brief(self) -> str:
        """The lower end in a sentence: 20 digits, and how large it is."""
        if len(self.low) > 100:  # none of ours
            return f"{self.low[:22]}…"
        try:
            return f"{Decimal(self.low):.20g}"
        except InvalidOperation:
            return self.low


class Case(Record, frozen=True):
    """One problem with all its numbers at the entry where the answers differ most.

    `answers` maps each oracle to its value (repr). `bound` describes the bound. `values` holds x,
    targets, parameters and other arrays, if they are small, as nested lists of strings.
    """

    at: str  # "seed:index"
    dtype: str
    network: NetworkShape | None = None
    graph: GraphShape | None = None  # in the place of the network
    batch: int = 0
    regime: str = ""
    tensor: str = ""
    entry: tuple[int, ...] = ()
    answers: dict[str, str] = {}
    enclosure: Enclosure | None = None
    ulp: dict[str, float] = {}
    scaled: dict[str, float] = {}
    bound: str = ""
    first_diverging_step: str | None = None
    values: dict[str, Nested] = {}
    repro: str | None = None
    diagnosis: str | None = None


class Finding(Record, frozen=True, tag="finding"):
    """All problems with one cause: the fingerprint, their number, and the smallest example.

    The fingerprint is operation, step, dtype, who and kind.
    `verdict` is spelled out, for example "DEVIATES(torch)". `others` lists further problems as
    "seed:index", up to a cap.
    """

    operation: str
    verdict: str
    count: int
    example: Case
    step: str = ""
    who: str = ""
    kind: str = ""
    dtype: str = ""
    others: tuple[str, ...] = ()
    sentence: str = ""


class Convention(Record, frozen=True, tag="convention"):
    """A row of the ledger: what each implementation answers in one situation of one operation."""

    operation: str
    kind: str  # "activation", "loss", "layer"
    situation: str  # "kink", "1 ulp above", "inf", "tie", …
    input: str
    quantity: Literal["value", "slope"]
    dtype: str
    answers: dict[str, str] = {}
    truth: str = ""
    admissible: dict[str, bool] = {}
    deviation: dict[str, str] = {}


class Accuracy(Record, frozen=True, tag="accuracy"):
    """How accurate one implementation of one operation is against the certified value.

    `inputs` and `errors` (in ULP) are an optional curve, `curve` the function's own values there.
    """

    operation: str
    kind: str
    quantity: Literal["value", "slope", "second"]
    dtype: str
    implementation: str
    worst_ulp: float
    worst_scaled: float = 0.0
    worst_input: str = ""
    tight_share: float | None = None
    n: int = 0
    inputs: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    curve: tuple[float, ...] = ()
    note: str = ""


class TrialRow(Record, frozen=True, tag="trial"):
    """A row of the judge's validation; rows with one `section` make a table, in their order.

    Known sections reach the headline: "mutants" (columns `injected`, `killed`) and "false alarms"
    (columns `networks`, `false alarms`), summed over their rows. "sensitivity" and others are
    shown without a sum. The order of the columns is kept.
    """

    section: str
    row: str
    columns: dict[str, Value] = {}


class ClaimRecord(Record, frozen=True, tag="claim"):
    """A statement of an article and its verdict. `formula` is LaTeX."""

    article: str
    claim: str  # its identifier
    verdict: str  # "RIGHT", "WRONG", "RIGHT IF …"
    title: str = ""
    where: str = ""
    statement: str = ""
    formula: str = ""
    correction: str = ""
    counterexample: str = ""
    numbers: dict[str, str] = {}


class Coverage(Record, frozen=True, tag="coverage"):
    """How often something occurred: `what` groups ("kink", "regime", "depth", "discarded", …)."""

    what: str
    name: str
    count: int


class Limit(Record, frozen=True, tag="limit"):
    """Something this run cannot detect, in words and figures."""

    title: str
    text: str


class Bench(Record, frozen=True, tag="bench"):
    """A measured time of one implementation of one shape, and its ratio to the GEMM floor.

    `origin` says when and on what it was measured, which may be another machine than the run's.
    """

    shape: str
    batch: int
    dtype: str
    implementation: str
    seconds: float
    ratio_to_floor: float | None = None
    section: str = "training step"
    origin: str = ""


AnyRecord = (
    Run | Cell | Finding | Convention | Accuracy | TrialRow | ClaimRecord | Coverage | Limit | Bench
)
_ORDER: tuple[type[Record], ...] = AnyRecord.__args__
_SORTED_BY_CONTENT = (Cell, Finding)
R = TypeVar("R", bound=Record)
_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


def decade(scaled: float) -> str:
    """Return the histogram key of a scaled error: its decade, "zero" or "nonfinite"."""
    if not math.isfinite(scaled):
        return "nonfinite"
    return "zero" if scaled == 0 else str(math.floor(math.log10(abs(scaled))))


def of_type(records: Iterable[Record], kind: type[R]) -> list[R]:
    """Return the records of one type, in order."""
    return [record for record in records if isinstance(record, kind)]


def grouped(items: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, list[_T]]:
    """Return the items by their key, in the order in which they and the keys come."""
    groups: dict[_K, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def encode(record: Record) -> bytes:
    """Return one line of JSON (without the newline): sorted keys, strings for non-finite floats."""
    order: Literal["sorted"] | None = None if isinstance(record, TrialRow) else "sorted"
    plain = msgspec.to_builtins(record, enc_hook=_plain, order=order)
    return msgspec.json.encode(spelled(plain), order=order)


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return the records in the file's order: by type, then (where order is free) by content."""
    return sorted(records, key=_place)


def encode_all(records: Iterable[Record]) -> Iterator[bytes]:
    """Yield the lines of records.jsonl, newline included, in the file's order."""
    for record in in_order(records):
        yield encode(record) + b"\n"


def decode(line: bytes) -> AnyRecord:
    """Read one line; raises ReportError unless it is a record of a known schema."""
    try:
        # Not strict: "nan", "inf" and "-inf" become floats where a float belongs.
        record: AnyRecord = msgspec.json.decode(line, type=AnyRecord, strict=False)
        return record
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        newer = _schema_of(line)
        if newer is not None and newer > SCHEMA_VERSION:
            raise _too_new(newer) from None
        raise ReportError(f"not a record: {_short(error)}") from None


def decode_all(lines: Iterable[bytes], name: str = "records.jsonl") -> list[AnyRecord]:
    """Read all lines; the first must be the Run, of a schema version known here, and only one."""
    records: list[AnyRecord] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = decode(line)
        except ReportError as error:
            raise ReportError(f"{name}, line {number}: {error}") from None
        if isinstance(record, Run) == bool(records):
            expected = "only the first record is a run" if records else "expected the run first"
            raise ReportError(f"{name}, line {number}: {expected}")
        known = range(OLDEST_SCHEMA, SCHEMA_VERSION + 1)
        if isinstance(record, Run) and record.schema not in known:
            other = _too_new if record.schema > SCHEMA_VERSION else _too_old
            raise ReportError(f"{name}, line {number}: {other(record.schema)}")
        records.append(record)
    if not records:
        raise ReportError(f"{name} is empty: expected at least a run")
    return records


def json_schema() -> str:
    """Return the JSON Schema of one line, as committed in reports/schema.json."""
    schema = msgspec.json.schema(AnyRecord)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"A line of records.jsonl, schema version {SCHEMA_VERSION}"
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _plain(value: object) -> object:
    """Turn a NumPy scalar (known by its `item`) into Python's; this package loads no NumPy."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a record cannot hold {value!r} (type={type(value).__name__})")


def spelled(plain: object) -> object:
    """Return plain data with strings for nan and inf; half a character is "?"."""
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain)
    if isinstance(plain, str) and not plain.isascii():
        return plain.encode("utf-8", "replace").decode()
    if isinstance(plain, dict):
        return {key: spelled(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [spelled(value) for value in plain]
    return plain


def _place(record: Record) -> tuple[int, bytes]:
    content = encode(record) if isinstance(record, _SORTED_BY_CONTENT) else b""
    return _ORDER.index(type(record)), content


def _schema_of(line: bytes) -> int | None:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    schema = found.get("schema") if isinstance(found, dict) else None
    return schema if isinstance(schema, int) else None


def _too_new(schema: int) -> ReportError:
    return ReportError(
        f"schema version {schema} is newer than {SCHEMA_VERSION}, the newest known here; "
        "install a newer manual-backprop to read this report"
    )


def _too_old(schema: int) -> ReportError:
    return ReportError(
        f"schema version {schema} is older than {SCHEMA_VERSION}, whose verdicts have another "
        "meaning; run the report again"
    )


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + "…"
