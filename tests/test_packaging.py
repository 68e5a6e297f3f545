"""What pyproject.toml promises is what is tested: floors of versions, and entry points."""

import importlib
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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
    assert re.search(r"oldest/bin/manual-backprop\" report .*--strict", script)


def test_the_newest_versions_are_above_the_floors() -> None:
    newest = pins("constraints.txt")
    for name, floor in floors().items():
        assert newest[name] >= floor, name


def test_the_entry_points_are_there() -> None:
    scripts = [*PROJECT["scripts"].values(), *PROJECT["entry-points"]["pytest11"].values()]
    for entry in scripts:
        module, _, name = entry.partition(":")
        found = importlib.import_module(module)
        assert not name or callable(getattr(found, name))
