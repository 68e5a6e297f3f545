"""What pyproject.toml promises is what is tested: floors of versions, and entry points."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def pins(file: str) -> dict[str, Version]:
    """Return the exact versions of a file of constraints."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    return {name.lower().replace("_", "-"): Version(version) for name, version in pairs}


def floors() -> dict[str, Version]:
    """Return the lowest versions that the ranges admit, of what users install."""
    optional = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"], *optional["train"], *optional["distributed"]]
    found = {}
    for requirement in map(Requirement, named):
        (floor,) = requirement.specifier
        assert floor.operator == ">=", requirement
        found[requirement.name.lower()] = Version(floor.version)
    return found


def test_the_floors_are_the_oldest_versions_that_are_tested() -> None:
    oldest = pins("constraints-oldest.txt")
    assert oldest.pop("jaxlib") == oldest["jax"]
    assert {name: version.release[:2] for name, version in oldest.items()} == {
        name: version.release[:2] for name, version in floors().items()
    }
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"-c constraints-oldest\.txt", script)
    assert re.search(r"oldest/bin/manual-backprop\" report .*report-oldest", script)
    assert "(CRASHED|SKIPPED)" in script  # a framework that crashes or is not there fails CI


def test_the_newest_versions_are_above_the_floors() -> None:
    newest = pins("constraints.txt")
    for name, floor in floors().items():
        assert newest[name] >= floor, name


# -- how large an install becomes: PyPI gives the CUDA build of torch, 6 GB ------------------------

CPU = "--index-url https://download.pytorch.org/whl/cpu"


def installs(file: Path) -> list[str]:
    """Return what a file tells to install: each command, as one line."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"pip install ([^\n`}\"]*)", text)


def texts() -> list[Path]:
    """Return the files in which somebody reads or runs how this is installed."""
    named = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"]
    folders = {"docs": "md", "containers": "Containerfile", "reference": "py",
               "reports": "html", "examples": "md"}  # fmt: skip
    return named + [f for d, end in folders.items() for f in sorted((ROOT / d).rglob(f"*.{end}"))]


def test_every_install_names_its_versions_or_the_small_build() -> None:
    found = [f"{file.relative_to(ROOT)}: {c}" for file in texts() for c in installs(file)]
    assert len(found) >= 10
    assert [f for f in found if "constraints" not in f and CPU not in f] == []


def test_the_small_build_is_that_of_the_constraints() -> None:
    small = [c for file in texts() for c in installs(file) if CPU in c]
    assert {c.partition(" --")[0] for c in small} == {f"torch=={pins('constraints.txt')['torch']}"}
    # GitHub's runners have no GPU, and PyPI gives them the large build.
    workflows = (ROOT / "docs" / "ci.md").read_text().split("```yaml")[1:]
    assert len(workflows) == 2
    assert all(w.index(CPU) < w.index("pip install -c ") < w.index("```") for w in workflows)


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-oldest.txt"])
def test_no_part_of_the_large_build_is_pinned(file: str) -> None:
    pinned = pins(file)
    assert pinned["torch"].local is None  # a pin of +cu126 would ask for it
    assert [n for n in pinned if n.startswith(("nvidia", "cuda", "triton"))] == []


def test_the_readme_names_the_size_of_both_builds() -> None:
    paragraph = next(p for p in README.split("\n\n") if "On disk" in p)
    assert re.search(r"2 GB .*CPU build.* 6 GB .*CUDA build", paragraph.replace("\n", " "))


def test_the_container_has_neither_framework() -> None:
    lines = (ROOT / "containers" / "grade-requirements.txt").read_text().splitlines()
    listed = {Requirement(line).name for line in lines if not line.startswith("#")}
    assert "numpy" in listed and not {"torch", "jax", "jaxlib"} & listed


def test_the_container_copies_and_starts_what_there_is() -> None:
    """No container is built here; what can be read of its file is."""
    text = (ROOT / "containers" / "grade.Containerfile").read_text().replace("\\\n", " ")
    steps = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert [s[0] for s in steps] == ["FROM", *["COPY", "RUN"], *["COPY"] * 3, "ENV", "WORKDIR",
                                     "ENTRYPOINT"]  # fmt: skip
    assert all((ROOT / source).exists() for s in steps if s[0] == "COPY" for source in s[1:-1])
    version = re.search(r"python:(\d+\.\d+)", text)
    assert version is not None and Version(version[1]) in SpecifierSet(PROJECT["requires-python"])
    assert f"python{version[1]}/site-packages" in text
    files = re.findall(r"-[cr] /opt/(\S+)", text)
    assert all(any(s[-1] == "/opt/" and f in " ".join(s) for s in steps) for f in files)
    packages = {s[1] for s in steps if s[0] == "COPY" and s[-1].startswith("/opt/backprop/")}
    assert packages == {"manual_backprop", "reference", "reports"}
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    assert json.loads(entry) == ["python", "-m", "reference", "grade"]


def test_the_container_s_versions_are_pinned() -> None:
    lines = (ROOT / "containers" / "grade-requirements.txt").read_text().splitlines()
    assert {x for x in lines if not x.startswith("#")} <= pins("constraints.txt").keys()


def test_the_entry_points_are_there() -> None:
    scripts = [*PROJECT["scripts"].values(), *PROJECT["entry-points"]["pytest11"].values()]
    for entry in scripts:
        module, _, name = entry.partition(":")
        found = importlib.import_module(module)
        assert not name or callable(getattr(found, name))
