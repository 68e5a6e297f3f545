import subprocess
import sys

import pytest

import manual_backprop


def test_each_public_name_is_found_where_the_package_says() -> None:
    assert set(manual_backprop._MODULES) == set(manual_backprop.__all__)
    for name in manual_backprop.__all__:
        value = getattr(manual_backprop, name)
        assert vars(manual_backprop)[name] is value
        module = getattr(value, "__module__", None)
        if module is not None and not name.isupper():
            assert module == f"manual_backprop.{manual_backprop._MODULES[name]}"
    assert set(manual_backprop.__all__) <= set(dir(manual_backprop))
    assert list(manual_backprop.__all__) == sorted(
        manual_backprop.__all__, key=lambda name: (not name.isupper(), name.lower() == name, name)
    )


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_that_name'"):
        getattr(manual_backprop, "nothing_of_that_name")  # noqa: B009


@pytest.mark.parametrize("name", ["ACTIVATIONS", "LOSSES", "LAYERS"])
def test_a_registry_is_full_when_it_is_first_asked_for(name: str) -> None:
    ask = f"import manual_backprop; print(len(manual_backprop.{name}))"
    run = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert int(run.stdout) == len(getattr(manual_backprop, name))


def test_an_error_of_ours_does_not_load_the_operations() -> None:
    heavy = "('scipy', 'flint', 'torch', 'jax', 'manual_backprop.graph')"
    ask = (
        "import sys; from manual_backprop.operation import InvalidInput; "
        "import reference.checks.command; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
