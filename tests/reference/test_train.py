"""Training side by side: the runs stay together, and a wrong gradient is seen to leave."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manual_backprop.operation import InvalidInput
from reference import train as training
from reference.cli import _claim
from reference.oracles.manual import Manual
from reference.train import load, picture, train, training_data, training_text


@pytest.fixture(scope="module")
def digits() -> training.Training:
    return train("digits", steps=100)


def test_the_curves_coincide_for_100_steps(digits: training.Training) -> None:
    u = 2.0**-53
    for who in ("torch", "jax"):
        apart = np.abs(digits.losses[who] - digits.losses["manual"])
        assert (apart <= 64 * u * np.abs(digits.losses["manual"])).all()
        assert digits.distances[who].max() <= 64 * u
        assert digits.parted(who) is None
    assert digits.losses["manual"][-1] < 0.2 * digits.losses["manual"][0]
    assert digits.accuracy["manual"] == digits.accuracy["torch"] == digits.accuracy["jax"] > 0.9


def test_text_data_and_picture(digits: training.Training, tmp_path: Path) -> None:
    text = training_text(digits)
    assert "held-out accuracy" in text and "the first bit differs after step" in text
    data = training_data(digits)
    assert len(data["losses"]["jax"]) == 100 and data["parted"] == {"torch": None, "jax": None}
    for name in ("a.svg", "b.svg"):
        picture(digits, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    for ending in ("svg", "png", "pdf"):  # drawn again, it takes the place of the first
        picture(digits, tmp_path / f"own.{ending}")
        _claim("picture", tmp_path / f"own.{ending}", f".{ending}")
    with pytest.raises(InvalidInput, match=r"\.svg"):
        picture(digits, tmp_path / "a.gif")


def test_the_moons_with_their_boundary(tmp_path: Path) -> None:
    done = train("moons", steps=3)
    assert done.task.network.widths == (2, 500, 2)
    picture(done, tmp_path / "moons.png")
    assert (tmp_path / "moons.png").stat().st_size > 10_000


def test_a_large_learning_rate_carries_rounding_far(tmp_path: Path) -> None:
    done = train("iris", steps=60, learning_rate=10.0)
    for who in ("torch", "jax"):
        assert done.first_bit(who) == 1
        parted = done.parted(who)
        assert parted is not None and 1 < parted <= 60
        assert f"half of the digits differ after step {parted}" in training_text(done)
    picture(done, tmp_path / "apart.svg")
    assert done.task.title.endswith("learning rate 10")


def test_float32_stays_float32() -> None:
    done = train("iris", steps=2, dtype="float32")
    assert all(w.dtype == np.float32 for run in done.parameters.values() for w in run.values())


def test_a_wrong_gradient_parts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Manual):
        name = "torch"

        def answer(self, problem: Any) -> Any:
            found = super().answer(problem)
            return replace(found, gradients={n: g * 1.001 for n, g in found.gradients.items()})

    monkeypatch.setattr(training, "TorchAutograd", Wrong)
    done = train("digits", steps=10)
    assert done.parted("torch") == 1 and done.parted("jax") is None


def test_adam_hides_a_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam divides by the gradient's own size: a run that learns proves no gradient right."""

    class Wrong(Manual):
        name = "torch"

        def answer(self, problem: Any) -> Any:
            found = super().answer(problem)
            return replace(found, gradients={n: g * 1024 for n, g in found.gradients.items()})

    monkeypatch.setattr(training, "TorchAutograd", Wrong)
    done = train("iris", steps=40)
    assert done.distances["torch"].max() < 1e-4  # what is left comes from epsilon


def test_a_framework_that_is_missing_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        training.TorchAutograd, "unavailable", lambda self: "torch is not installed"
    )
    done = train("iris", steps=1)
    assert set(done.losses) == {"manual", "jax"}
    assert "torch is not installed" in training_text(done)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnist"}, "task='mnist' is unknown; expected one of: digits, iris, moons"),
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        train(**arguments)


def test_tasks_hold_a_fifth_out() -> None:
    task = load("digits")
    assert len(task.samples.x) + len(task.held_out.x) == 1797
    assert len(task.held_out.x) == 360
