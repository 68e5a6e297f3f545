"""What changed between two runs."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from examplereport import example_records

from reports.diff import DIGITS, Difference
from reports.diff_pages import render_diff_html, render_diff_markdown, render_diff_text
from reports.records import Accuracy, Cell, Convention, Finding, OracleStatus, Record, Run
from reports.summary import Summary

RECORDS = example_records(800, findings=6)
Edit = Callable[[Record], Record | None]


def changed(edit: Edit) -> Difference:
    after = [new for record in RECORDS if (new := edit(record)) is not None]
    return Difference(Summary(RECORDS), Summary(after))


def replace(
    kind: type[Record], where: Callable[[Record], bool] = lambda _: True, **fields: object
) -> Edit:
    def edit(record: Record) -> Record | None:
        if isinstance(record, kind) and where(record):
            return msgspec.structs.replace(record, **fields)
        return record

    return edit


def drop(kind: type[Record], **fields: object) -> Edit:
    def edit(record: Record) -> Record | None:
        gone = isinstance(record, kind) and all(
            getattr(record, name) == value for name, value in fields.items()
        )
        return None if gone else record

    return edit


def test_a_run_does_not_differ_from_itself() -> None:
    difference = changed(lambda record: record)
    assert difference.changes == [] and difference.exit_code == 0
    assert "Nothing changed" in render_diff_text(difference)
    assert "Nothing changed" in render_diff_html(difference)
    assert render_diff_markdown(difference).count("\n") == 1


def test_a_gone_and_a_new_finding() -> None:
    without = changed(drop(Finding, operation="gelu_tanh"))
    (gone,) = without.parts["Findings"]
    assert gone.direction == "better" and gone.after == "–" and "gelu_tanh" in gone.what
    assert without.exit_code == 0
    back = Difference(without.after, without.before)
    (new,) = back.parts["Findings"]
    assert new.direction == "worse" and "DEVIATES(jax) ×17" in new.after and new.at
    assert back.exit_code == 1


def test_a_new_convention_is_a_change_and_not_for_the_worse() -> None:
    without = changed(drop(Finding, operation="relu6"))
    assert Difference(without.after, without.before).exit_code == 0


@pytest.mark.parametrize(
    ("verdict", "direction"),
    [("DEVIATES(torch)", "worse"), ("DEVIATES(manual)", "worse"), ("CONVENTION", "better")],
)
def test_a_finding_of_another_verdict(verdict: str, direction: str) -> None:
    edit = replace(Finding, lambda f: f.operation == "tanh", verdict=verdict)  # type: ignore[attr-defined]
    (change,) = changed(edit).parts["Findings"]
    assert change.direction == direction and "PRECISION(torch)" in change.before


def test_counts_are_compared_only_where_the_problems_are_the_same() -> None:
    difference = changed(replace(Run, verdicts={"DEVIATES(jax)": 999}))
    assert any(c.direction == "worse" for c in difference.parts["Verdicts"])
    assert difference.exit_code == 1
    other = changed(replace(Run, verdicts={"DEVIATES(jax)": 999}, seed=5))
    assert other.exit_code == 0 and "different problems" in " ".join(other.sentences)


def test_a_lost_side_is_for_the_worse() -> None:
    lost = changed(replace(Run, oracles=(OracleStatus(name="manual", version="0.1.0"),)))
    assert {c.what for c in lost.parts["Versions"]} == {"PyTorch", "JAX", "certified"}
    assert lost.exit_code == 1


def test_an_upgrade_is_a_change() -> None:
    oracles = (OracleStatus(name="torch", version="2.14.0"),)
    (torch, *_) = changed(replace(Run, oracles=oracles)).parts["Versions"][-1:]
    upgrade = next(
        c for c in changed(replace(Run, oracles=oracles)).parts["Versions"] if c.what == "PyTorch"
    )
    assert (upgrade.before, upgrade.after, upgrade.direction) == ("2.13.0", "2.14.0", "other")
    assert torch is not None


def test_worst_errors_that_move_and_all_agree_are_no_alarm() -> None:
    calm = changed(replace(Cell, lambda c: c.verdicts.keys() == {"AGREE"}, worst_scaled=1e-30))  # type: ignore[attr-defined]
    assert calm.changes and calm.exit_code == 0
    edit = replace(Cell, lambda c: c.activation == "identity", worst_scaled=0.5,  # type: ignore[attr-defined]
                   verdicts={"DEVIATES(manual)": 1})  # fmt: skip
    assert {c.direction for c in changed(edit).parts["Worst errors"]} == {"worse"}


def test_another_answer_at_a_kink() -> None:
    def edit(record: Record) -> Record:
        if isinstance(record, Convention) and record.operation == "sigmoid":
            answers = {**record.answers, "jax": "0"}
            return msgspec.structs.replace(record, answers=answers, admissible={}, deviation={})
        return record

    changes = changed(edit).parts["Conventions"]
    assert {(c.before, c.after, c.direction) for c in changes} == {("nan", "0", "better")}
    assert all(c.what.endswith("JAX") for c in changes)


def test_other_digits_of_the_same_verdict_come_last_and_name_who_moved() -> None:
    def edit(record: Record) -> Record:
        if not isinstance(record, Finding) or record.operation != "tanh":
            return record
        example = record.example
        answers = {**example.answers, "torch": "0.125"}
        return msgspec.structs.replace(
            record, example=msgspec.structs.replace(example, answers=answers)
        )

    difference = changed(edit)
    (change,) = difference.changes
    assert (change.part, change.after, change.direction) == (DIGITS, "0.125", "other")
    assert change.what.endswith("PyTorch") and difference.exit_code == 0


def test_a_ledger_of_one_run_alone_is_one_line() -> None:
    (change,) = changed(drop(Convention)).changes
    assert change.part == "Conventions" and change.after == "not swept"
    assert change.direction == "other"


def test_the_first_lines_say_who_is_wrong_and_who_loses_digits() -> None:
    old = Difference(Summary(RECORDS), Summary(RECORDS)).before.run
    oracles = tuple(
        msgspec.structs.replace(o, version="0.99") if o.name == "jax" else o for o in old.oracles
    )
    verdicts = {**old.verdicts, "DEVIATES(torch, jax)": 3, "PRECISION(jax)": 41}
    before = sum(n for v, n in old.verdicts.items() if v.startswith("DEVIATES") and "jax" in v)

    def edit(record: Record) -> Record:
        if isinstance(record, Run):
            return msgspec.structs.replace(record, oracles=oracles, verdicts=verdicts)
        if isinstance(record, Accuracy) and record.implementation == "jax":
            factor = 3.0 if record.operation == "mish" else 1.5
            return msgspec.structs.replace(record, worst_ulp=factor * record.worst_ulp)
        return record

    text = render_diff_text(changed(edit))
    first, hand, torch, jax, operations, *_ = text.splitlines()
    assert first.startswith("JAX 0.10.2 → 0.99: ") and "for the worse" in first
    assert hand.strip() == "By hand: deviates in 0 problems (as before)."
    after = sum(n for v, n in verdicts.items() if v.startswith("DEVIATES") and "jax" in v)
    assert f"deviates in {after} problems ({before} before)" in jax
    assert "PyTorch: deviates in" in torch
    assert operations.strip() == "JAX's own operations are less accurate in mish."


def test_lost_digits_are_for_the_worse() -> None:
    edit = replace(Accuracy, lambda a: a.operation == "mish", worst_ulp=1e9)  # type: ignore[attr-defined]
    changes = changed(edit).parts["Accuracy"]
    assert len(changes) == 12 and {c.direction for c in changes} == {"worse"}


def test_everything_hostile_is_escaped_and_kept_on_its_line() -> None:
    text = "<script>alert(1)</script>\n| x"
    difference = changed(replace(Finding, sentence=text, verdict=text, operation=text))
    assert "<script>alert" not in render_diff_html(difference)
    assert "<script" not in render_diff_markdown(difference).replace("\\", "")
    rows = [row for row in render_diff_markdown(difference).splitlines() if row.startswith("|")]
    assert all(len(row.split("|")) == 6 for row in rows)
    assert all(
        line == "" or line[0] in " BVFCWA" for line in render_diff_text(difference).split("\n")
    )


@pytest.mark.parametrize(
    "other",
    [
        {"activations": ("tanh",)},
        {"losses": ("mse",)},
        {"regimes": ("ordinary",)},
        {"oracles": ()},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_new_finding_of_another_selection_is_no_alarm(other: dict[str, Any]) -> None:
    """What was drawn in one run alone, the other could not find."""
    fewer = changed(drop(Finding, operation="gelu_tanh")).after
    before, after = Summary(RECORDS), changed(replace(Run, **other)).after
    assert Difference(fewer, before).exit_code == 1
    (new,) = Difference(fewer, after).parts["Findings"]
    assert new.direction == "other"
    wrong = replace(Finding, verdict="DEVIATES(manual)")
    ours = Summary([edited for r in after.records if (edited := wrong(r)) is not None])
    found = Difference(fewer, ours).parts["Findings"]
    assert any(change.direction == "worse" for change in found), "ours wrong is always one"
