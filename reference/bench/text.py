"""The bench as Markdown: ratios to the floor, and where the fast step's time goes."""

from collections.abc import Iterable, Sequence

from reference.bench.measure import BenchResult, Timing

NAMES = {
    "numpy_plain": "NumPy plain",
    "numpy_fast": "NumPy fast",
    "numpy_plain_stable": "plain, stable",
    "numpy_fast_stable": "fast, stable",
    "torch_eager": "torch eager",
    "torch_compile": "torch.compile",
    "jax_jit": "jax.jit",
    "sklearn_backprop": "scikit-learn",
    "hips_autograd": "HIPS autograd",
}
SHARES = {
    "products": "matrix products",
    "element-wise": "element-wise arithmetic",
    "calls": "overhead of the calls",
}

GOALS = {
    "4-8-3": {"float64": 3.2, "float32": 3.2},
    "64-64-64-10": {"float64": 2.2, "float32": 2.2},
    "784-256-128-10": {"float64": 1.10, "float32": 1.10},
    "1024-1024-1024-1024-10": {"float64": 1.10, "float32": 1.05},
}
"""How many times the floor the fast step, in the textbook's form, may take at most."""


def render(result: BenchResult) -> str:
    """Return every section of a bench as Markdown."""
    parts = []
    for section in dict.fromkeys(row.section for row in result.rows):
        rows = [row for row in result.rows if row.section == section]
        if section == "memory":
            parts.append(_memory(rows))
        elif section != "sweep":
            parts.append(f"**{section.capitalize()}**, {_threads(rows)}\n\n{ratios(rows)}")
    if any(row.shares for row in result.rows):
        parts.append(f"**Where the fast step's time goes**\n\n{shares(result.rows)}")
    notes = [f"{name}: skipped, {reason}" for name, reason in result.skipped.items()]
    return "\n\n".join([*parts, *notes, f"BLAS: {'; '.join(result.kernels)}"])


def ratios(rows: Sequence[Timing]) -> str:
    """Return times as multiples of the floor, one line a case."""
    names = [n for n in NAMES if any(row.implementation == n for row in rows)]
    body = []
    for case, of_case in _by_case(rows).items():
        found = {row.implementation: row for row in of_case}
        body.append([*case, _time(found["floor"].seconds), *(_ratio(found.get(n)) for n in names)])
    return _table(
        ["network", "batch", "dtype", "activation", "floor", *(NAMES[n] for n in names)], body
    )


def summary(result: BenchResult) -> str:
    """Return a short table: times over the floor, tanh / ReLU, one thread, and the goal."""
    names = ("numpy_fast", "numpy_fast_stable", "torch_eager", "jax_jit")
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in result.rows:
        if row.section == "training step" and row.implementation in names:
            of_case = found.setdefault((f"{row.shape}, batch {row.batch}", row.dtype), {})
            of_case.setdefault(row.implementation, []).append(_ratio(row))
    body = [
        [case, dtype]
        + [f"{GOALS[case.split(',')[0]][dtype]:.2f}"]
        + [" / ".join(of_case.get(name, [])) for name in names]
        for (case, dtype), of_case in found.items()
    ]
    return _table(["network", "dtype", "goal", *(NAMES[name] for name in names)], body)


def shares(rows: Iterable[Timing]) -> str:
    """Return where the fast step's time goes, one line a case."""
    shown = [row for row in rows if row.shares]
    kinds = list(shown[0].shares)
    body = [
        [row.shape, str(row.batch), row.dtype, row.activation]
        + [f"{row.shares[kind]:.0%}" for kind in kinds]
        for row in shown
    ]
    return _table(
        ["network", "batch", "dtype", "activation", *(SHARES[kind] for kind in kinds)], body
    )


def _memory(rows: Sequence[Timing]) -> str:
    body = [
        [NAMES[row.implementation], f"{(row.memory_bytes or 0) / 2**20:.1f} MiB"]
        for row in rows
        if row.implementation in NAMES
    ]
    first = rows[0]
    head = f"**Memory**, {first.shape}, batch {first.batch}, {first.dtype}"
    return (
        f"{head}: for NumPy, the most that one step allocates at once; for the others, how much "
        "the process has grown since the step was prepared; these two kinds of numbers cannot be "
        "compared exactly\n\n"
        f"{_table(['', 'memory'], body)}"
    )


def _by_case(rows: Iterable[Timing]) -> dict[tuple[str, ...], list[Timing]]:
    cases: dict[tuple[str, ...], list[Timing]] = {}
    for row in rows:
        key = (row.shape, str(row.batch), row.dtype, row.activation)
        cases.setdefault(key, []).append(row)
    return cases


def _threads(rows: Sequence[Timing]) -> str:
    return "one thread" if rows[0].threads == 1 else f"{rows[0].threads} threads"


def _ratio(row: Timing | None) -> str:
    return "" if row is None else f"{row.ratio_to_floor:.2f}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


def _table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
