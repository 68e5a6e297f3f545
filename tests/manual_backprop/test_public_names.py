import types

import manual_backprop


def test_all_is_exactly_the_public_names() -> None:
    public = {
        name
        for name, value in vars(manual_backprop).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(manual_backprop.__all__)
    assert list(manual_backprop.__all__) == sorted(
        manual_backprop.__all__, key=lambda name: (not name.isupper(), name.lower() == name, name)
    )
