"""Kinks are found in definitions, not listed."""

from typing import Any

import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import InvalidInput
from reference.arithmetic.balls import exact, precision
from reference.drawing.regimes import find, kinks, one_sided


def drawn_parameters(operation: Any) -> list[tuple[tuple[str, Any], ...]]:
    """Every parameter at each of its choices, the others at their defaults."""
    settings = [operation.defaults()]
    for name, parameter in operation.parameters.items():
        settings += [{**operation.defaults(), name: choice} for choice in parameter.choices]
    return [tuple(sorted(setting.items())) for setting in settings]


def test_the_kinks_of_a_made_up_function_are_found_to_the_last_bit() -> None:
    third = 1.0 / 3.0

    def definition(m: Any, x: Any) -> Any:
        return m.max(x - third, 0) + m.min(x, -7) + m.where(x - 12, x * x, x * 12)

    with precision(192):
        assert find(definition, {}) == (-7.0, third, 12.0)


def test_a_branch_without_a_kink_is_not_a_kink() -> None:
    def definition(m: Any, x: Any) -> Any:
        return m.where(x, 1 / (1 + m.exp(-x)), m.exp(x) / (1 + m.exp(x)))

    with precision(192):
        assert find(definition, {}) == ()


def test_a_jump_is_a_kink() -> None:
    with precision(192):
        assert find(lambda m, x: m.where(x - 3, x, 0), {}) == (3.0,)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_at_every_kink_the_one_sided_slopes_differ(name: str) -> None:
    operation = ACTIVATIONS[name]
    for parameters in drawn_parameters(operation):
        for kink in kinks(name, parameters):
            with precision(192):
                pairs = [
                    one_sided(operation.definition, exact(kink), i, (), dict(parameters))
                    for i in range(4)
                ]
            assert any(
                not low.slopes[0].overlaps(high.slopes[0]) or not low.value.overlaps(high.value)
                for low, high in pairs
            ), (name, parameters, kink)


def test_known_kinks_are_found() -> None:
    assert kinks("relu") == (0.0,)
    assert kinks("relu6") == (0.0, 6.0)
    assert kinks("l1", (), 2.5) == (2.5,)
    assert [name for name in LOSSES if kinks(name)] != []


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(InvalidInput, match="operation='rlu'"):
        kinks("rlu")
