"""Holds a target: loads its file, recognises what is in it, runs it on one problem at a time.

Used inside the target's own process, and in this one for objects that are at hand already.
"""

import contextlib
import importlib
import importlib.util
import inspect
import io
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Problem
from manual_backprop.spec import FloatArray, InvalidInput
from reference.checks.targets import classes, frameworks, general, networks, pairs
from reference.checks.targets.drawing import check_accepts
from reference.checks.targets.forms import FORMS, Found, Given, known_like

Arrays = dict[str, npt.NDArray[Any]]

_WHOLES = {"network": "a whole network", "general": "the general form"}


class Host:
    """The recognised parts of one target."""

    def __init__(self, names: Mapping[str, Any], like: str | None, what: str) -> None:
        self.found = recognise(names, like)
        if not self.found:
            raise InvalidInput(f"{what}: nothing in it was recognised; expected one of\n{FORMS}")

    def run(self, index: int, problem: Problem, cotangent: FloatArray) -> tuple[Any, Arrays]:
        """Run one part on one problem; return facts and arrays."""
        kept = _copies(problem) | {"dout": cotangent.copy()}
        facts: dict[str, Any] = {}
        arrays: Arrays = {}

        def work() -> None:
            given = self.found[index].run(problem, cotangent)
            facts["notes"], facts["without"] = list(given.notes), list(given.without)
            arrays.update(_arrays(given))

        _guarded(facts, work)
        facts["mutated"] = _changed(kept, _copies(problem) | {"dout": cotangent})
        return facts, arrays

    def draw(self, index: int, seed: int, position: int) -> tuple[Any, Arrays]:
        """Draw the inputs of a general form, and a cotangent of each output."""
        system: general.System = self.found[index].system
        rng = np.random.default_rng([seed, position])
        facts: dict[str, Any] = {}
        inputs = _guarded(facts, lambda: system.draw(rng))
        return facts, inputs or {}

    def run_general(
        self, index: int, inputs: Arrays, seed: int, frameworks: list[str]
    ) -> tuple[Any, Arrays]:
        """Run a general form: its own gradients, the frameworks', and the local check."""
        system: general.System = self.found[index].system
        kept = {k: v.copy() for k, v in inputs.items()}
        facts: dict[str, Any] = {"notes": []}
        result: Arrays = {}

        def work() -> dict[str, Any]:
            out, steps = system.run_numpy(inputs)
            rng = np.random.default_rng([seed, 1])
            scalar = all(o.ndim == 0 for o in out)
            cotangents = [np.ones(()) if scalar else rng.standard_normal(o.shape) for o in out]
            given = system.gradients(inputs, {k: v.copy() for k, v in steps.items()}, cotangents)
            facts["steps"], facts["inputs"] = list(steps), list(inputs)
            arrays = {k: np.asarray(v) for k, v in given.items()}
            unknown = sorted(set(arrays) - set(steps) - set(inputs))
            if unknown:
                raise InvalidInput(
                    f"backward returned {unknown[0]!r}; named are: {', '.join([*inputs, *steps])}"
                )
            result.update({f"given/{k}": v for k, v in arrays.items()})
            result.update({f"step/{k}": v for k, v in steps.items()})
            # Of what was drawn: theirs may have written into its inputs.
            clean = {k: v.copy() for k, v in kept.items()}
            _references(system, clean, steps, cotangents, arrays, frameworks, facts, result)
            return arrays

        _guarded(facts, work)
        facts["mutated"] = _changed(kept, inputs)
        return facts, result


_GRADIENTS = ("_backward", "_grad", "_gradient", "_prime", "_derivative")


def recognise(names: Mapping[str, Any], like: str | None) -> list[Found]:
    """Return what a module holds, whole networks first."""
    like = _text(names.get("like")) if like is None else like
    if like is not None and like != "network":
        known_like(like)
    accepts = names.get("accepts", {})
    check_accepts(accepts)
    own = {k: v for k, v in names.items() if not k.startswith("__") and not inspect.ismodule(v)}
    own.pop("accepts", None)
    found = networks.recognise(own, like, accepts) or general.recognise(own, like, accepts)
    if found:
        if like not in (None, "network"):
            raise InvalidInput(f"like={like!r} does not apply to {_WHOLES[found[0].kind]}")
        return found
    if like == "network":
        raise InvalidInput("like='network': no function value_and_grad(network, params, x, y)")
    found += frameworks.recognise(own, like, accepts)
    taken = frameworks.parts_of(own)
    own = {name: thing for name, thing in own.items() if id(thing) not in taken}
    for form in (pairs, classes):
        found += form.recognise(own, like, accepts)
    words = {word for one in found for word in re.findall(r"\w+", one.what)}
    beside = tuple(n for n in own if n.endswith(_GRADIENTS) and callable(own[n]) and n not in words)
    if found and beside:
        found[-1] = replace(found[-1], beside=beside)
    return found


def load(target: str) -> tuple[dict[str, Any], str]:
    """Return the names of a target: FILE.py, FILE.py:name or module:name."""
    path, _, wanted = target.partition(":")
    if path.endswith(".py"):
        if not Path(path).is_file():
            raise InvalidInput(f"TARGET={target!r}: no such file")
        sys.path.insert(0, str(Path(path).resolve().parent))
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(spec.name, module)
        spec.loader.exec_module(module)
    else:
        if not all(part.isidentifier() for part in path.split(".")):
            raise InvalidInput(f"TARGET={target!r}: expected FILE.py, FILE.py:name or module:name")
        sys.path.insert(0, "")
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            raise InvalidInput(
                f"TARGET={target!r}: {error}; expected a Python file or module:name"
            ) from None
    names = names_of(module)
    if not wanted:
        return names, target
    if wanted not in vars(module):
        raise InvalidInput(f"TARGET={target!r}: {path} has no {wanted!r}")
    return around(vars(module)[wanted], wanted, names), target


def names_of(module: ModuleType) -> dict[str, Any]:
    """Return what is a module's own."""
    return {k: v for k, v in vars(module).items() if _belongs(v, module)}


def around(thing: Any, name: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return a thing with what belongs to it: the partner of a function, a module's settings."""
    kept = {k: v for k, v in names.items() if k in ("like", "accepts", "shapes", "inputs", "torch",
                                                    "jax")}  # fmt: skip
    if inspect.isfunction(thing):
        partner = pairs._partner(name, names)
        if partner:
            kept[partner] = names[partner]
        if name.endswith("_backward") and name.replace("_backward", "_forward") in names:
            kept[name.replace("_backward", "_forward")] = names[
                name.replace("_backward", "_forward")
            ]
    kept[name] = thing
    own_like = getattr(thing, "like", None)
    if own_like:
        kept["like"] = own_like
    return kept


def _belongs(value: Any, module: Any) -> bool:
    """Say whether a name is the module's own: what it only imported is not a target."""
    home = getattr(value, "__module__", None)
    if inspect.isfunction(value) or isinstance(value, type):
        return bool(home == module.__name__)
    return True


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _guarded(facts: dict[str, Any], work: Any) -> Any:
    """Run a target's code: what it raises, prints or exits with becomes a fact."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), np.errstate(all="ignore"):
            return work()
    except SystemExit as error:
        facts["exited"] = f"{error.code}"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "/reference/checks/targets/" not in f.filename]
        where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
        facts["raised"] = f"{type(error).__name__}: {error}{where}"
    finally:
        if printed.getvalue():
            facts["printed"] = printed.getvalue()[:200]
    return None


def _references(
    system: general.System,
    inputs: Arrays,
    steps: Arrays,
    cotangents: list[npt.NDArray[Any]],
    given: Arrays,
    wanted: list[str],
    facts: dict[str, Any],
    result: Arrays,
) -> None:
    """Add what the frameworks say, what the author's own cotangents imply, and the complex step."""
    references: dict[str, Arrays] = {}
    for name in wanted:
        if system.counterparts and name not in system.counterparts:
            continue
        try:
            if name == "torch":
                references[name] = system.torch(inputs, cotangents)
            else:
                references[name] = system.jax(inputs, steps, cotangents)
        except ImportError as error:
            facts["notes"].append(f"{name}: not installed ({error})")
        except Exception as error:
            facts["notes"].append(f"{name}: {type(error).__name__}: {error}")
    for name, found in references.items():
        result.update({f"{name}/{k}": v for k, v in found.items()})
    if not references:
        return
    first = next(iter(references.values()))
    rng = np.random.default_rng(0)
    agreeing = []
    for name, value in inputs.items():
        if value.dtype.kind != "f" or name not in first:
            continue
        along = rng.standard_normal(value.shape)
        slope = system.complex_step(inputs, cotangents, name, along)
        if slope is not None:
            agreeing.append([slope, float((first[name] * along).sum()),
                             float(np.abs(first[name] * along).sum())])  # fmt: skip
    result["complex"] = np.array(agreeing).reshape(-1, 3)
    if "torch" in references and not system.counterparts:
        # Where the author gave no cotangent of a step, the right one stands in.
        filled = {**{k: v for k, v in first.items() if k in steps}, **given}
        totals, shares = system.local(inputs, cotangents, filled)
        result.update({f"local/{k}": v for k, v in totals.items()})
        result.update({f"share/{k}": v for k, v in shares.items()})


def _arrays(given: Given) -> Arrays:
    """Turn what came back into arrays; what is no array of numbers is an error of theirs."""
    arrays: Arrays = {}
    for name, value in {"out": given.out, **given.gradients}.items():
        if value is None:
            continue
        if hasattr(value, "detach"):
            value = value.detach().numpy()
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            what = f"{type(value).__name__} of {array.dtype}" if array.ndim else repr(value)[:40]
            raise InvalidInput(f"{name} is {what}: expected an array of numbers")
        arrays[name] = array
    return arrays


def _copies(problem: Problem) -> Arrays:
    arrays = {"x": problem.x, "targets": problem.targets, **problem.parameters}
    return {k: v.copy() for k, v in arrays.items()}


def _changed(before: Arrays, after: Arrays) -> list[str]:
    return [k for k, v in before.items() if not np.array_equal(v, after[k], equal_nan=True)]
