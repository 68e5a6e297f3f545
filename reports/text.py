"""The report on a terminal: plain text, the same words as the page, shorter."""

from collections.abc import Iterable, Mapping, Sequence

from reports.records import Case, Finding
from reports.summary import Summary, beyond_text, error_text, kind_of, label, meaning, sides

FINDINGS_SHOWN = 12


def render_text(summary: Summary, timing: Mapping[str, float] | None = None) -> str:
    """Return headline, verdict counts, findings and the command that runs it again."""
    run = summary.run
    lines = [one_line(summary.headline), ""]
    lines.append(
        f"Compared: the hand-written {summary.subject} with {one_line(summary.compared())}"
    )
    if timing and "seconds" in timing:
        rate = run.problems / timing["seconds"] if timing["seconds"] > 0 else float("inf")
        lines.append(f"Time: {timing['seconds']:.1f} s, {rate:,.0f} networks/s")
    for dtype, cell in summary.agreed.items():
        where = f" at {cell.worst_at}" if cell.worst_at else ""
        error = f"{error_text(cell.worst_scaled)}{where}{beyond_text(cell)}"
        lines.append(one_line(f"Largest scaled difference where all agree, {dtype}: {error}"))
    lines += ["", "Verdicts"]
    lines += table(
        [
            (kind_of(verdict).mark, verdict, f"{count:,}", meaning(verdict))
            for verdict, count in summary.shown_verdicts
        ],
        right={2},
    )
    if summary.findings:
        lines += ["", f"Findings: {len(summary.findings):,}, the most serious first"]
        for finding in summary.findings[:FINDINGS_SHOWN]:
            lines += finding_lines(finding, summary.show(finding.example.at))
        rest = len(summary.findings) - FINDINGS_SHOWN
        if rest > 0:
            lines.append(f"  … and {rest:,} more in the page and in records.jsonl")
    lines += ["", f"Run again: {one_line(run.command)}"]
    return "\n".join(lines) + "\n"


def finding_lines(finding: Finding, show: str) -> list[str]:
    """Return the few lines that a finding gets on a terminal; `show` is the command for it."""
    mark = kind_of(finding.verdict).mark
    where = " · ".join(part for part in (finding.operation, finding.step, finding.dtype) if part)
    lines = [
        "  " + one_line(f"{mark} {finding.verdict}  {where}  ×{finding.count:,}"),
        *([f"      {one_line(finding.sentence)}"] if finding.sentence else []),
        *(f"      {part}" for part in answers(finding.example)),
        f"      {one_line(show)}",
    ]
    return lines


def answers(case: Case) -> Iterable[str]:
    """Yield each side's value at the worst entry, and the certified enclosure."""
    rows = [(label(name), case.answers[name]) for name in sides(case.answers)]
    if case.enclosure:
        low, high = case.enclosure.low, case.enclosure.high
        rows.append(("certified", low if low == high else f"{low} … {high}"))
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        yield f"{one_line(name):<{width}}  {one_line(value)}"


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Return rows as aligned columns, two spaces in; the columns in `right` end flush."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    flush = set(right)
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if i in flush else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def one_line(text: str, limit: int = 300) -> str:
    """Return text that cannot break a line or steer a terminal: no control characters, clipped."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 2 * limit])
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[:limit] + "…"
