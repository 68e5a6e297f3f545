"""From a dotted name to a framework's function; and what a run records of its surroundings."""

import importlib.metadata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import COMPOSED, InvalidInput, Operation, counterpart
from reference.oracles.counterparts import find, resolve
from reference.oracles.environment import environment

OPERATIONS: list[Operation] = [*ACTIVATIONS.values(), *LOSSES.values(), *LAYERS.values()]


@pytest.mark.parametrize("framework", ["torch", "jax"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_every_operation_has_both_counterparts(operation: Operation, framework: Any) -> None:
    assert callable(resolve(operation, framework))


def with_torch(name: str, **keywords: Any) -> Operation:
    return replace(ACTIVATIONS["identity"], torch=counterpart(name, **keywords))


def test_keywords_are_fixed_and_names_changed() -> None:
    import torch

    x = torch.tensor([[-1.0, 2.0]])
    named = with_torch("torch.nn.functional.leaky_relu", renamed={"slope": "negative_slope"})
    assert resolve(named, "torch")(x, slope=0.5).tolist() == [[-0.5, 2.0]]
    fixed = with_torch("torch.nn.functional.leaky_relu", negative_slope=0.25)
    assert resolve(fixed, "torch")(x).tolist() == [[-0.25, 2.0]]


def test_a_name_is_found_by_attribute_never_evaluated() -> None:
    assert find("numpy.linalg.norm") is np.linalg.norm
    for name in ("numpy.nothing", "no_such_package.f", "numpy.sum()", "(1).real", "numpy"):
        with pytest.raises(InvalidInput, match="counterpart"):
            find(name)


def test_a_wrong_name_names_the_operation() -> None:
    with pytest.raises(InvalidInput, match=r"identity.*torch\.nn\.functional\.nope"):
        resolve(with_torch("torch.nn.functional.nope"), "torch")


def test_a_composition_that_is_missing_names_the_operation() -> None:
    bare = replace(ACTIVATIONS["identity"], torch=COMPOSED, composition=None)
    with pytest.raises(InvalidInput, match="identity"):
        resolve(bare, "torch")


def test_the_environment_is_text() -> None:
    found = environment()
    assert all(isinstance(k, str) and isinstance(v, str) and v for k, v in found.items())
    assert {"python", "platform", "processor", "cores", "numpy", "torch", "jax"} <= found.keys()
    assert {"torch threads", "jax x64"} <= found.keys()
    assert any("openblas" in v or "mkl" in v.lower() or "unknown" in v for v in found.values())


def compiled(number: float) -> None:
    import jax

    from reference.oracles.jax_cache import persistent

    lowered = jax.jit(lambda x: x * number + 1).lower(1.0)
    with persistent():
        function = lowered.compile()
    assert function(2.0) == 2 * number + 1


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*-cache"))


def test_a_program_is_compiled_once_and_a_torn_entry_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANUAL_BACKPROP_CACHE", str(tmp_path))
    compiled(3.5)
    (entry,) = entries(tmp_path)
    written = entry.stat().st_mtime_ns
    compiled(3.5)
    assert entries(tmp_path) == [entry] and entry.stat().st_mtime_ns == written
    entry.write_bytes(entry.read_bytes()[:50])  # what a killed writer leaves
    compiled(3.5)
    assert entries(tmp_path) == []
    compiled(3.5)
    assert entries(tmp_path) == [entry]


def test_a_jaxlib_that_misreads_its_programs_compiles_them_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reference.oracles import jax_cache

    monkeypatch.setenv("MANUAL_BACKPROP_CACHE", str(tmp_path))
    monkeypatch.setattr(jax_cache, "_MISREADING", (importlib.metadata.version("jaxlib"),))
    compiled(5.5)
    assert entries(tmp_path) == []


def test_a_cache_that_cannot_be_used_costs_the_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (str(tmp_path / "file"), ""):
        monkeypatch.setenv("MANUAL_BACKPROP_CACHE", place)
        compiled(4.5)
    assert entries(tmp_path) == []


def test_a_program_that_another_process_deletes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    from reference.oracles.jax_cache import _prune

    for name in ("a", "b"):
        (tmp_path / f"{name}-cache").write_text(name)
    (tmp_path / "gone-cache").symlink_to(tmp_path / "nothing")
    _prune(tmp_path, 1)
    assert sum(file.exists() for file in tmp_path.glob("*-cache")) == 1
