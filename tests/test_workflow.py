"""docs/ci.md's workflows (YAML, commands, files handed on), and the README's example."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from examplereport import example_records
from typer.main import get_command

from reference.cli import app
from reports.folder import write_report

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


OWN, FORK = 0, 1
"""The workflow that checks somebody's own code, and that of a fork."""


def workflow(which: int = FORK) -> dict[str, Any]:
    """Return a workflow as GitHub would read it."""
    texts = re.findall(r"^```yaml\n(.*?)^```$", CI, re.DOTALL | re.MULTILINE)
    assert len(texts) == 2
    found: dict[str, Any] = yaml.load(texts[which], yaml.BaseLoader)  # "on" is a word, not True
    return found


def commands(which: int = FORK) -> list[list[str]]:
    """Return the words of each command that a workflow runs."""
    steps = [step for job in workflow(which)["jobs"].values() for step in job["steps"]]
    return [shlex.split(step["run"]) for step in steps if "run" in step]


@pytest.mark.parametrize("which", [OWN, FORK])
def test_it_has_what_a_workflow_needs(which: int) -> None:
    found = workflow(which)
    assert {"name", "on", "permissions", "jobs"} <= found.keys()
    for name, job in found["jobs"].items():
        assert job["runs-on"] and job["steps"], name
        assert job.get("needs", name) in found["jobs"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1")), step


def words_of_ours() -> list[list[str]]:
    """Return the words after `manual-backprop` of the workflows and of the README's commands."""
    plain = "\n".join(re.findall(r"^```\n(.*?)^```$", README, re.DOTALL | re.MULTILINE))
    lines = [part for line in plain.splitlines() for part in line.lstrip("$ ").split("&&")]
    found = [shlex.split(x) for x in lines if x.strip().startswith("manual-backprop ")]
    every = [*commands(OWN), *commands(FORK)]
    found += [words for words in every if words[0] == "manual-backprop"]
    return [words[1:] for words in found]


def parsed(words: list[str]) -> None:
    """Read a command line as the program would, without running it."""
    group: Any = get_command(app)
    context = group.make_context("manual-backprop", list(words))
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)


def test_every_command_of_ours_can_be_read() -> None:
    found = words_of_ours()
    assert {"check", "report"} <= {words[0] for words in found}
    for words in found:
        parsed(words)


@pytest.mark.parametrize("words", ["report --problem 3", "reports", "report --problems many"])
def test_that_a_wrong_command_is_found(words: str) -> None:
    with pytest.raises(Exception, match=r"[Nn]o such|valid integer"):
        parsed(words.split())


def test_the_files_it_hands_on_are_written(tmp_path: Path) -> None:
    (report,) = (words for words in commands() if words[:2] == ["manual-backprop", "report"])
    folder = report[report.index("--out") + 1]
    write_report(tmp_path / folder, example_records(50, findings=2))
    text = "\n".join(" ".join(words) for words in commands())
    named = re.findall(rf"{folder}/[\w.]+", text)
    assert f"{folder}/summary.md" in named
    for name in (*named, f"{folder}/index.html", f"{folder}/badge.svg"):
        assert (tmp_path / name).stat().st_size > 0
    steps = [step for job in workflow()["jobs"].values() for step in job["steps"]]
    assert {s["with"]["path"] for s in steps if "path" in s.get("with", {})} == {folder}


def test_it_installs_what_the_readme_says() -> None:
    assert commands(OWN)[0] == commands(FORK)[0], "the small build of PyTorch"
    small_torch, install = (words for words in commands() if "pip" in words)
    for words in (small_torch, install):
        assert " ".join(words) in README
    named = install[install.index("-c") + 1]
    setup = [s["with"] for job in workflow()["jobs"].values() for s in job["steps"] if "with" in s]
    assert (ROOT / named).is_file() and named in [w.get("cache-dependency-path") for w in setup]


def test_the_library_s_example_runs_as_printed() -> None:
    (text,) = re.findall(r"^```python\n(import numpy.*?)^```$", README, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(text, names)
    assert names["gradients"]["layers.0.weight"].shape == (2, 3)
    assert np.isfinite(names["trace"].loss)
