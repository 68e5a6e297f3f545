"""What a small report costs beside its problems, counted and not timed: machines are busy."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manual_backprop.network import Problem
from reference.campaign import AGAIN, Plan, RunStatistics, run, run_block
from reference.oracles import Answer, load
from reference.running.report import examples
from reference.workers.worker import ONE_THREAD

ROOT = Path(__file__).parents[2]

SMALL_REPORT = """
import json, sys
from pathlib import Path
from reference.campaign import Plan
from reference.running.report import report
from reference.running.sections import kept
from reference.workers import worker
from reports.records import Limit

for name in ("accuracy", "articles"):
    kept(name, lambda: [Limit(title="kept before", text=name)])

class Counted(worker._Process):
    begun = 0
    def __init__(self, *given):
        Counted.begun += 1
        super().__init__(*given)

worker._Process = Counted
plan = Plan(problems=10, oracles=("manual",), sections=("accuracy", "articles", "baselines"))
report(plan, Path(sys.argv[1]), workers=1)
print(json.dumps({"processes": Counted.begun, "modules": sorted(sys.modules)}))
"""


def in_a_new_process(script: str, *arguments: str, cache: Path) -> Any:
    """Run a script as a worker of ours runs; return the JSON that it prints."""
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, check=True,
        env={**environment, "MANUAL_BACKPROP_CACHE": str(cache)},
    )  # fmt: skip
    return json.loads(done.stdout)


def test_a_second_small_report_makes_nothing_again(tmp_path: Path) -> None:
    """One process, no framework in the parent, and the sections as they were kept."""
    out = tmp_path / "out"
    found = in_a_new_process(SMALL_REPORT, str(out), cache=tmp_path / "cache")
    assert found["processes"] == 1
    assert not {"torch", "jax", "reference.trials.accuracy"} & set(found["modules"])
    records = map(json.loads, (out / "records.jsonl").read_text().splitlines())
    texts = [r["text"] for r in records if "text" in r]
    assert {"accuracy", "articles"} <= set(texts)


def test_kept_sections_load_no_framework(tmp_path: Path) -> None:
    """What a section is made with costs seconds to import, and is not met where it is kept."""
    script = """
import json, sys
from reference.running.sections import kept
from reference.running.sections import CACHED, section
from reports.records import Limit

for name in CACHED:
    kept(name, lambda: [Limit(title=name, text="kept")])
titles = [record.title for name in CACHED for record in section(name)]
section("baselines")
print(json.dumps({"titles": titles, "modules": sorted(sys.modules)}))
"""
    found = in_a_new_process(script, cache=tmp_path)
    assert found["titles"] == ["accuracy", "articles", "second"]
    heavy = {"torch", "jax", "array_api_compat", "reference.trials", "reference.articles"}
    assert not heavy & set(found["modules"])


class Counting:
    """The hand-written side, with a count of what it is asked."""

    name = "manual"
    graphs = True

    def __init__(self) -> None:
        self.right = load(("manual",))["manual"]
        self.asked = 0

    def unavailable(self) -> None:
        """It can be asked."""

    def answer(self, problem: Problem) -> Answer:
        return self.answers([problem])[0]

    def answers(self, problems: Sequence[Problem]) -> list[Answer]:
        self.asked += len(problems)
        return self.right.answers(problems)


def test_no_problem_is_asked_twice_but_a_share_and_the_examples() -> None:
    plan, side, statistics = Plan(problems=400, oracles=("manual",)), Counting(), RunStatistics()
    statistics.add(run_block(plan, 0, plan.problems, {"manual": side}))
    assert plan.problems < side.asked < (1 + 2 * AGAIN) * plan.problems
    before, kinds = side.asked, len(list(statistics.findings()))
    for work in examples(statistics):
        run(plan, work, {"manual": side})
    assert 0 < side.asked - before <= kinds
