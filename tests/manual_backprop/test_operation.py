"""The error names what is wrong with a definition: defined twice, incomplete, or unknown."""

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import (
    COMPOSED,
    Activation,
    InvalidInput,
    Loss,
    Parameter,
    Registry,
    activation,
    counterpart,
    loss,
)


def complete() -> dict[str, Any]:
    """Return the parts of a complete class."""
    return {
        "__doc__": "y = x.   dy/dx = 1.",
        "forward": staticmethod(lambda x: x),
        "backward": staticmethod(lambda x, y, dy: dy),
        "definition": staticmethod(lambda m, x: x),
    }


def register(parts: dict[str, Any], registry: Registry[Activation], **arguments: Any) -> Activation:
    arguments = {"torch": "torch.positive", "jax": "jax.nn.identity", **arguments}
    return activation(registry=registry, **arguments)(type("TwiceAsGood", (), parts))


@pytest.fixture
def registry() -> Registry[Activation]:
    return Registry("activation")


def test_a_complete_class_becomes_a_record(registry: Registry[Activation]) -> None:
    operation = register(complete(), registry)
    assert operation.name == "twice_as_good"
    assert registry["twice_as_good"] is operation
    assert list(registry) == ["twice_as_good"] and len(registry) == 1
    assert operation.counterpart("torch").name == "torch.positive"
    with pytest.raises(FrozenInstanceError):
        operation.name = "other"  # type: ignore[misc]


def test_a_double_definition_is_an_error(registry: Registry[Activation]) -> None:
    register(complete(), registry)
    with pytest.raises(InvalidInput, match="activation 'twice_as_good' is defined twice"):
        register(complete(), registry)


@pytest.mark.parametrize(
    "part, named",
    [
        ("forward", "forward"),
        ("backward", "backward"),
        ("definition", "definition"),
        ("__doc__", "a docstring with the derivation"),
    ],
)
def test_a_missing_part_is_named(registry: Registry[Activation], part: str, named: str) -> None:
    parts = complete()
    del parts[part]
    with pytest.raises(InvalidInput, match=f"'twice_as_good' is incomplete: it lacks {named}$"):
        register(parts, registry)
    assert "twice_as_good" not in registry


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_forgotten_counterpart_is_named(registry: Registry[Activation], framework: str) -> None:
    with pytest.raises(InvalidInput, match=f"it lacks a {framework} counterpart"):
        register(complete(), registry, **{framework: ""})


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_composed_counterpart_needs_its_composition(
    registry: Registry[Activation], framework: str
) -> None:
    with pytest.raises(InvalidInput, match="it lacks composition"):
        register(complete(), registry, **{framework: COMPOSED})
    composed = complete() | {"composition": staticmethod(lambda xp, x: x)}
    assert register(composed, registry, **{framework: COMPOSED}).composition is not None


def test_everything_missing_is_named_at_once(registry: Registry[Activation]) -> None:
    with pytest.raises(InvalidInput, match="forward, backward, definition, a docstring"):
        register({}, registry)


def test_a_loss_is_checked_the_same_way() -> None:
    losses: Registry[Loss] = Registry("loss")
    arguments: dict[str, Any] = {
        "torch": "t",
        "jax": "j",
        "targets": ("real",),
        "elementwise": True,
    }
    with pytest.raises(InvalidInput, match="loss 'half' is incomplete: it lacks forward"):
        loss(**arguments, registry=losses)(type("Half", (), {"__doc__": "L = y/2."}))
    parts = dict.fromkeys(("forward", "backward", "definition"), len)
    for one, other in (("count", "count_definition"), ("count_definition", "count")):
        half = type("Half", (), {"__doc__": "L = y/2.", **parts, one: len})
        with pytest.raises(InvalidInput, match=f"'half' is incomplete: it lacks {other}$"):
            loss(**arguments, registry=losses)(half)


def test_an_unknown_name_lists_the_known(registry: Registry[Activation]) -> None:
    register(complete(), registry)
    with pytest.raises(InvalidInput, match=r"activation='rleu' is unknown; .*: twice_as_good"):
        registry["rleu"]


@pytest.mark.parametrize("name", [["tanh"], {}, None, 3])
def test_what_is_no_name_is_unknown(registry: Registry[Activation], name: Any) -> None:
    with pytest.raises(InvalidInput, match="is unknown"):
        registry[name]


@pytest.mark.parametrize(
    ("bounds", "admitted", "refused", "expected"),
    [
        ({}, (-1e308, 0.0, 3), (), "a finite number"),
        ({"above": 0}, (5e-324, 1), (0.0, -0.0, -1), "a finite number above 0"),
        ({"at_least": 0}, (0.0, -0.0, 2), (-5e-324,), "a finite number at least 0"),
        (
            {"at_least": 0, "at_most": 1},
            (0, 0.5, 1.0),
            (-0.5, math.nextafter(1, 2)),
            "a finite number at least 0 and at most 1",
        ),
    ],
)
def test_a_range_admits_its_numbers(
    bounds: dict[str, float],
    admitted: tuple[float, ...],
    refused: tuple[float, ...],
    expected: str,
) -> None:
    parameter = Parameter(1.0, (1.0, 0.5), **bounds)
    assert parameter.expected == expected
    assert all(parameter.admits(value) for value in admitted)
    for value in (*refused, math.nan, math.inf, -math.inf, 10**400):
        assert not parameter.admits(value)
        with pytest.raises(InvalidInput, match=expected):
            Parameter(1.0, (1.0, value), **bounds)


def test_a_counterpart_keeps_its_keywords_to_itself() -> None:
    keywords = {"dim": -1}
    found = counterpart("torch.softmax", renamed={"axis": "dim"}, **keywords)
    keywords["dim"] = 0
    assert found.keywords["dim"] == -1 and not found.composed
    with pytest.raises(TypeError):
        found.keywords["dim"] = 0  # type: ignore[index]


def test_the_registries_hold_what_was_promised() -> None:
    assert len(ACTIVATIONS) >= 24 and len(LOSSES) >= 14 and "dense" in LAYERS
    for operations in (ACTIVATIONS, LOSSES, LAYERS):
        for name, operation in operations.items():
            assert operation.name == name and operation.doc
            assert operation.torch.name and operation.jax.name
