"""The general form: a forward written once against an array namespace, and a backward by hand.

    shapes = {"x": "N D", "W": "D H", "y": "N int(H)"}

    def forward(xp, step, x, W, y):
        h = step("h", xp.tanh(x @ W))
        ...
        return loss

    def backward(inputs, steps):
        return {"h": dh, "W": dW}

The forward runs under NumPy, torch and JAX. Every named step is probed; every cotangent that the
backward returns is compared. A backward with a third argument gets the output's cotangent.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_backprop.spec import InvalidInput
from reference.checks.targets.forms import Found, Given, accepted
from reference.checks.targets.pairs import split
from reference.oracles.counterparts import Framework, find, namespace
from reference.oracles.jax_x64 import double_precision

Arrays = dict[str, npt.NDArray[Any]]
Step = Callable[[str, Any], Any]


@dataclass(frozen=True)
class System:
    """A computation with named steps, its backward, and how its inputs are drawn."""

    forward: Callable[..., Any] = field(repr=False)
    backward: Callable[..., Any] = field(repr=False)
    draw: Callable[[np.random.Generator], Arrays] = field(repr=False)
    counterparts: Mapping[str, str] = field(default_factory=dict)

    def run_numpy(self, inputs: Arrays) -> tuple[list[npt.NDArray[Any]], Arrays]:
        """Run the forward under NumPy; return its outputs and the steps."""
        steps: Arrays = {}

        def step(name: str, value: Any) -> Any:
            if name in steps or name in inputs:
                raise InvalidInput(f"step {name!r} is named twice")
            steps[name] = np.asarray(value)
            return value

        out = self.forward(np, step, **inputs)
        return [np.asarray(o) for o in _several(out)], steps

    def gradients(
        self, inputs: Arrays, steps: Arrays, cotangents: list[npt.NDArray[Any]]
    ) -> dict[str, Any]:
        """Run the backward that the author wrote."""
        arguments: list[Any] = [inputs, steps]
        if len(accepted(self.backward)) > 2:
            arguments.append(cotangents[0] if len(cotangents) == 1 else tuple(cotangents))
        found = self.backward(*arguments)
        if not isinstance(found, Mapping):
            raise InvalidInput(
                f"backward returned {type(found).__name__}, expected a dict from names to gradients"
            )
        names = {*inputs, *steps}
        plain = {str(k): v for k, v in found.items()}
        return {k if k in names else k.removeprefix("d"): v for k, v in plain.items()}

    def torch(self, inputs: Arrays, cotangents: list[npt.NDArray[Any]]) -> Arrays:
        """Return torch's cotangent of every input and step."""
        import torch

        leaves = {k: _leaf(v) for k, v in inputs.items()}
        steps: dict[str, Any] = {}

        def step(name: str, value: Any) -> Any:
            steps[name] = value
            return value

        out = _several(self.under("torch", step, leaves))
        wanted = {k: v for k, v in {**leaves, **steps}.items() if v.requires_grad}
        found = torch.autograd.grad(
            [o for o in out], list(wanted.values()), [torch.tensor(c) for c in cotangents],
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        return {k: g.numpy() for k, g in zip(wanted, found, strict=True)}

    def jax(self, inputs: Arrays, steps: Arrays, cotangents: list[npt.NDArray[Any]]) -> Arrays:
        """Return JAX's cotangent of every input and step; steps by a zero added to each."""
        import jax

        with double_precision():
            floats = {k: v for k, v in inputs.items() if v.dtype.kind == "f"}
            others = {k: v for k, v in inputs.items() if k not in floats}
            probes = {k: np.zeros_like(v) for k, v in steps.items() if v.dtype.kind == "f"}

            def run(given: Any, added: Any) -> Any:
                def step(name: str, value: Any) -> Any:
                    return value + added[name] if name in added else value

                out = _several(self.under("jax", step, {**given, **others}))
                return sum((o * c).sum() for o, c in zip(out, cotangents, strict=True))

            found = jax.grad(run, argnums=(0, 1))(floats, probes)
            return {k: np.asarray(v) for part in found for k, v in part.items()}

    def complex_step(
        self, inputs: Arrays, cotangents: list[npt.NDArray[Any]], name: str, along: Any
    ) -> float | None:
        """Return the derivative along a direction of one input, or None where NumPy cannot."""
        h = 2.0**-100
        moved = {**inputs, name: inputs[name] + 1j * h * along}
        try:
            out, _ = self.run_numpy(moved)
        except (TypeError, ValueError):
            return None
        total = sum((o * c).sum() for o, c in zip(out, cotangents, strict=True))
        return float(np.imag(total) / h)

    def local(
        self, inputs: Arrays, cotangents: list[npt.NDArray[Any]], given: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Return what each cotangent should be given the author's own cotangents after it.

        The graph is cut at every step; what flows to a step from each step after it is a share.
        """
        import torch

        leaves = {k: _leaf(v) for k, v in inputs.items()}
        made: dict[str, Any] = {}
        cut: dict[str, Any] = {}

        def step(name: str, value: Any) -> Any:
            made[name] = value
            cut[name] = value.detach().clone().requires_grad_(value.is_floating_point())
            return cut[name]

        out = _several(self.under("torch", step, leaves))
        nodes = {k: v for k, v in {**leaves, **cut}.items() if v.requires_grad}
        sources = [("the output", o, c) for o, c in zip(out, cotangents, strict=True)]
        sources += [(k, v, given[k]) for k, v in made.items() if k in given]
        totals: Arrays = {k: np.zeros(tuple(v.shape)) for k, v in nodes.items()}
        shares: Arrays = {}
        for name, value, cotangent in sources:
            if not value.requires_grad or cotangent.shape != tuple(value.shape):
                continue
            seed = torch.tensor(np.asarray(cotangent), dtype=value.dtype)
            flows = torch.autograd.grad(
                value, list(nodes.values()), seed, allow_unused=True, retain_graph=True
            )
            for node, flow in zip(nodes, flows, strict=True):
                if flow is not None:
                    totals[node] = totals[node] + flow.numpy()
                    shares[f"{node}/{name}"] = flow.numpy()
        return totals, shares

    def under(self, framework: Framework, step: Step, inputs: Mapping[str, Any]) -> Any:
        """Run the forward, or the counterpart that stands for it, in a framework."""
        if self.counterparts:
            return find(self.counterparts[framework])(*inputs.values())
        return self.forward(namespace(framework), step, **inputs)


def recognise(
    module: Mapping[str, Any], like: str | None, accepts: Mapping[str, Any]
) -> list[Found]:
    """Return the module's general form, or its forward and backward with counterparts."""
    forward, backward = module.get("forward"), module.get("backward")
    if not (callable(forward) and callable(backward)):
        return []
    draw = _drawer(module, forward)
    torch, jax = module.get("torch"), module.get("jax")
    if isinstance(torch, str) or isinstance(jax, str):
        names = {k: v for k, v in (("torch", torch), ("jax", jax)) if isinstance(v, str)}
        system = _plain(forward, backward, draw, names)
        what = " and ".join(f"{k}={v}" for k, v in names.items())
        return [Found("forward and backward with counterparts", "forward with backward", "general",
                      "general", what, _no_network, {}, accepts, system)]  # fmt: skip
    if accepted(forward)[:1] != ["xp"]:
        return []
    system = System(forward, backward, draw)
    return [Found("general form", "forward(xp, step, …) with backward(inputs, steps)", "general",
                  "general", "its own forward", _no_network, {}, accepts, system)]  # fmt: skip


def _no_network(problem: Any, cotangent: Any) -> Given:
    raise InvalidInput("the general form runs on its own inputs, not on a network")


def _plain(forward: Any, backward: Any, draw: Any, names: Mapping[str, str]) -> System:
    """Put a plain pair, forward(x, …) and backward(dout, …), into the general form."""
    arguments = accepted(forward)

    def general(xp: Any, step: Step, **inputs: Any) -> Any:
        return split(forward(*inputs.values()))[0]

    def by_hand(inputs: Arrays, steps: Arrays, dout: Any) -> dict[str, Any]:
        out, cache = split(forward(*inputs.values()))
        wanted = accepted(backward)
        named = {**inputs, "y": out, "out": out}
        values = [dout]
        if cache is not None and len(wanted) == 2:
            values.append(cache)
        else:
            values += [named.get(n, inputs[arguments[min(k, len(arguments) - 1)]])
                       for k, n in enumerate(wanted[1:])]  # fmt: skip
        found = backward(*values)
        if isinstance(found, Mapping):
            return dict(found)
        several = found if isinstance(found, tuple | list) else (found,)
        return dict(zip(arguments, several, strict=False))

    return System(general, by_hand, draw, names)


def _drawer(module: Mapping[str, Any], forward: Any) -> Callable[[np.random.Generator], Arrays]:
    own = module.get("inputs")
    if callable(own):
        return lambda rng: {k: np.asarray(v) for k, v in own(rng).items()}
    shapes = module.get("shapes")
    if shapes is None:
        shapes = {n: "N D" for n in accepted(forward) if n not in ("xp", "step")}
    if not isinstance(shapes, Mapping) or not all(isinstance(s, str) for s in shapes.values()):
        raise InvalidInput('shapes: expected a dict like {"x": "N D", "y": "N int(H)"}')
    return lambda rng: drawn(shapes, rng)


def drawn(shapes: Mapping[str, str], rng: np.random.Generator) -> Arrays:
    """Draw inputs by their shapes: every letter its own size, floats normal, int(H) below H."""
    letters = sorted({w for s in shapes.values() for w in re.findall(r"[A-Za-z_]\w*", s)} - {"int"})
    sizes = dict(zip(letters, 2 + rng.permutation(max(6, len(letters))), strict=False))
    inputs: Arrays = {}
    for name, spelled in shapes.items():
        words = spelled.replace(",", " ").split()
        limits = [w[4:-1] for w in words if w.startswith("int(")]
        try:
            dims = [sizes[w] if w in sizes else int(w) for w in words if not w.startswith("int(")]
        except ValueError:
            dims = [0]
        if any(d < 1 for d in dims):
            raise InvalidInput(f"shapes: {name!r}: {spelled!r}; expected letters and numbers > 0")
        if limits:
            high = sizes[limits[0]] if limits[0] in sizes else int(limits[0])
            inputs[name] = rng.integers(0, high, dims)
        else:
            inputs[name] = np.asarray(rng.standard_normal(dims))
    return inputs


def _several(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple | list) else [out]


def _leaf(value: npt.NDArray[Any]) -> Any:
    import torch

    return torch.tensor(value, requires_grad=value.dtype.kind == "f")
