"""Articles by number or by file: found, audited, and turned into records."""

import importlib.util
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from manual_backprop.articles import ARTICLES, article
from manual_backprop.articles.claim import Article
from manual_backprop.articles.system import NUMPY, Quantities
from manual_backprop.network import Problem
from manual_backprop.operation import ByName, InvalidInput
from reference.articles.audit import PROBLEMS, Auditor, ClaimDecision
from reference.articles.plain import plain
from reference.oracles import Answer
from reports import records


def records_of(audited: Article, decisions: Sequence[ClaimDecision]) -> list[records.ClaimRecord]:
    """Return decisions as records for a page or for JSON."""
    return [
        records.ClaimRecord(
            article=audited.name,
            claim=decision.claim.name,
            verdict=decision.verdict,
            title=audited.title,
            where=decision.claim.where,
            statement=_statement(decision),
            formula=decision.claim.formula,
            correction=decision.correction,
            counterexample=decision.counterexample,
            numbers=dict(decision.answers),
        )
        for decision in decisions
    ]


def _statement(decision: ClaimDecision) -> str:
    parts = [decision.claim.reading]
    if decision.claim.reconstructed:
        parts.append("the formula is lost and was reconstructed from the prose")
    if decision.kind == "SHAPE":
        parts.append(decision.detail)
    return "; ".join(part for part in parts if part)


def audit(targets: Sequence[str] = ARTICLES, problems: int = PROBLEMS) -> list[records.ClaimRecord]:
    """Audit articles, by number or by file, and return the records."""
    auditor = Auditor(problems)
    found: list[records.ClaimRecord] = []
    for target in targets:
        audited = load(target)
        found += records_of(audited, auditor.audit(audited))
    return found


def by_hand(one: Article, inputs: ByName) -> tuple[Problem, Answer]:
    """Return an article's problem in the project's form, and the article's own gradient of it.

    The answer can be judged like any oracle's.
    """
    if one.problem is None or one.in_project is None or one.backward is None:
        raise InvalidInput(f"article {one.name}: it has no method that reads it as a Problem")
    with np.errstate(all="ignore"):
        q = one.system.run(inputs)
        gradient = Quantities({})
        one.backward(NUMPY, q, gradient)
    loss = np.asarray(q[one.system.loss])
    return one.problem(inputs), Answer("article", loss, one.in_project(inputs, gradient))


@lru_cache(maxsize=32)
def load(target: str) -> Article:
    """Return one of the five articles by number, or the ARTICLE of a Python file."""
    if target in ARTICLES:
        return article(target)
    path = Path(target)
    if path.suffix != ".py" or not path.is_file():
        raise InvalidInput(
            f"article={target!r}: expected {', '.join(ARTICLES)} or a Python file with claims"
        )
    spec = importlib.util.spec_from_file_location(f"article_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"article={target!r}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"article={target!r}: {type(error).__name__}: {error}") from error
    found = getattr(module, "ARTICLE", None)
    if not isinstance(found, Article):
        raise InvalidInput(f"article={target!r}: expected an Article under the name ARTICLE")
    return found


def audit_text(found: Sequence[records.ClaimRecord]) -> str:
    """Return the audit for the terminal: a line for each claim, more where one is not right."""
    lines: list[str] = []
    current = ""
    for one in found:
        if one.article != current:
            current = one.article
            lines += ["", f"{one.article}  {one.title}", ""]
        lines.append(f"  {one.claim:18} {one.verdict}")
        if one.verdict == "RIGHT":
            continue
        details = {
            "where": one.where,
            "printed": plain(one.formula),
            "read as": one.statement,
            "correction": plain(one.correction),
            "counterexample": one.counterexample,
            "numbers": ", ".join(f"{side} {number}" for side, number in one.numbers.items()),
        }
        lines += [f"  {'':18}   {name}: {text}" for name, text in details.items() if text]
    counts = Counter(one.verdict.split("(")[0] for one in found)
    counts_text = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return "\n".join(
        [*lines[1:], "", f"{len(found)} claim{'s' * (len(found) != 1)}: {counts_text}"]
    )
