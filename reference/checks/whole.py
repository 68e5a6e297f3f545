"""Checks the general form: every cotangent its author wrote, against torch, JAX and itself."""

from collections import ChainMap, Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.checks.result import Fault, Part, Shrunk, Worst, merge
from reference.checks.targets.process import Runner
from reference.diagnose import Diagnosis, Location
from reference.diagnosis.describe import Pair, describe
from reference.diagnosis.same import same_to_rounding

Arrays = dict[str, npt.NDArray[Any]]
_JAX = 1  # problems that JAX is asked too: it runs op by op, and compiles each of them once
_TRIES = 200


def check_general(
    runner: Runner, index: int, part: Mapping[str, Any], problems: int, seed: int
) -> Part:
    """Check one general form on so many drawn inputs."""
    return _General(runner, index, part, problems, seed).run()


class _General:
    def __init__(
        self, runner: Runner, index: int, part: Mapping[str, Any], problems: int, seed: int
    ) -> None:
        self.runner, self.index, self.part = runner, index, part
        self.problems, self.seed = problems, seed
        self.faults: list[Fault] = []
        self.remarks: list[str] = []
        self.judged: Counter[str] = Counter()
        self.origins: Counter[str] = Counter()
        self.wrong_tensors: Counter[str] = Counter()
        self.pairs: dict[str, list[Pair]] = {}
        self.compared: set[str] = set()
        self.worst: Worst | None = None
        self.failing: Arrays | None = None

    def run(self) -> Part:
        right = wrong = 0
        for k in range(self.problems):
            at = f"{self.seed}:{k}"
            facts, inputs = self.runner.draw(self.index, self.seed, k)
            if not inputs:
                self.note(facts, at)
                break
            names = ["torch", "jax"] if k < _JAX else ["torch"]
            facts, found = self.runner.run_general(self.index, inputs, self.seed, names)
            self.note(facts, at)
            verdict = self.judge(facts, found, inputs, at)
            right, wrong = right + (verdict is True), wrong + (verdict is False)
            if "hung" in facts or "died" in facts:
                break
        shrunk = None
        if self.failing is not None:
            shrunk = self.shrink(self.failing)
        return Part(
            form=self.part["form"],
            what=self.part["what"],
            matched=f"references from {self.part['how']}",
            problems=self.problems,
            right=right,
            wrong=wrong,
            judged=self.judged,
            faults=merge(self.faults),
            remarks=tuple(self.remarks),
            diagnosis=self.diagnosis() if wrong else None,
            worst=self.worst,
            shrunk=shrunk,
        )

    def note(self, facts: Mapping[str, Any], at: str) -> None:
        for kind in ("raised", "hung", "died", "exited", "invalid"):
            if kind in facts:
                text = f"exit({facts[kind]}) was called" if kind == "exited" else facts[kind]
                self.faults.append(Fault(kind, text, at))
        if facts.get("mutated"):
            text = f"its inputs were changed: {', '.join(facts['mutated'])}"
            self.faults.append(Fault("mutated", text, at))
        if facts.get("printed"):
            text = repr(" ".join(facts["printed"].split())[:60])
            self.faults.append(Fault("printed", text, at, fatal=False))
        for text in facts.get("notes", ()):
            self.remark(text)

    def remark(self, text: str) -> None:
        """Note something once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def judge(
        self, facts: Mapping[str, Any], found: Arrays, inputs: Arrays, at: str
    ) -> bool | None:
        """Judge every cotangent of one problem; None where there is nothing to judge by."""
        given = _under("given/", found)
        answers = {n: _under(f"{n}/", found) for n in ("torch", "jax")}
        answers = {n: a for n, a in answers.items() if a}
        if not answers:
            return None
        if "raised" not in facts:
            self.missing(
                [n for n, v in inputs.items() if v.dtype.kind == "f" and n not in given], at
            )
        names = [n for n in (*reversed(facts.get("steps", ())), *inputs) if n in given]
        names = [n for n in names if any(n in a for a in answers.values())]
        if not sum(given[name].size for name in names):
            self.remark("problems where no number came back were not judged")
            return None
        # nan is no gradient that a right one could be held to.
        answers = {n: a for n, a in answers.items()
                   if all(np.isfinite(a[name]).all() for name in names if name in a)}  # fmt: skip
        if not answers:
            self.remark("problems where the frameworks' gradient is nan or inf were not judged")
            return None
        for name in answers:
            self.judged[{"torch": "PyTorch", "jax": "JAX"}[name]] += 1
        self.complex_step(found)
        local, shares = _under("local/", found), _under("share/", found)
        reference = dict(ChainMap(*answers.values()))
        among = max((float(np.abs(v).max(initial=0)) for v in reference.values()), default=0.0)
        bad: list[str] = []
        for name in names:
            self.compared.add(name)
            all_of_them = [a[name] for a in answers.values() if name in a]
            if any(same_to_rounding(given[name], r, among) for r in all_of_them):
                continue
            bad.append(name)
            self.tell(name, given[name], reference[name], at)
        for name in bad:
            target = local.get(name, reference[name])
            if not same_to_rounding(given[name], target, among):
                self.origins[name] += 1
                known = {**inputs, **_under("step/", found), **_floats(reference, name)}
                own = {f"through {k.removeprefix(name + '/')}": v for k, v in shares.items()
                       if k.startswith(name + "/")}  # fmt: skip
                sizes = {f"size {n} of {name}": int(s) for n, s in enumerate(target.shape)}
                sizes |= {"N": int(next(iter(inputs.values())).shape[0])} if inputs else {}
                pair = Pair(given[name], target, known, sizes, own if len(own) > 1 else {})
                self.pairs.setdefault(name, []).append(pair)
        self.wrong_tensors.update(bad)
        if bad and (self.failing is None or _size(inputs) < _size(self.failing)):
            self.failing = inputs
        return not bad

    def missing(self, names: list[str], at: str) -> None:
        """Note which inputs' gradients did not come back."""
        if names:
            text = f"no gradient of {', '.join(names)} came back, so it was not checked"
            self.faults.append(Fault("missing", text, at, fatal=False))

    def complex_step(self, found: Arrays) -> None:
        """Count where the target's own forward, by complex step, says the same as the reference."""
        rows = found.get("complex")
        if rows is None or not len(rows):
            return
        self.judged["complex step"] += 1
        # Along a random direction; the last column is the sum of the magnitudes.
        if not same_to_rounding(rows[:, 0], rows[:, 1], 256 * float(rows[:, 2].max())):
            self.remark("its forward under NumPy has another derivative than under the frameworks")

    def tell(self, name: str, given: Any, right: Any, at: str) -> None:
        """Keep the first wrong entry for the text, or the shapes where they differ."""
        if given.shape != right.shape:
            text = f"{name} has the shape {given.shape}, expected {right.shape}"
            self.faults.append(Fault("shape", text, at))
        elif self.worst is None and given.size:
            apart = np.abs(given - right)
            k = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
            entry = tuple(int(i) for i in np.unravel_index(k, given.shape))
            self.worst = Worst(at, name, entry, float(given[entry]), float(right[entry]))

    def diagnosis(self) -> Diagnosis:
        """Locate by the local check: what does not follow from the author's own cotangents."""
        wrong = tuple(n for n, _ in self.wrong_tensors.most_common())
        origins = [n for n, _ in self.origins.most_common()] or list(wrong[:1])
        described = []
        for name in origins[:4]:
            text = describe(self.pairs.get(name, []))
            text = text or "it is wrong given your own cotangents after it; no simple relation fits"
            described.append((name, text))
        return Diagnosis(Location(origins[0], wrong), (), tuple(described))

    def shrink(self, inputs: Arrays) -> Shrunk | None:
        """Make the failing inputs plain: array by array, then entry by entry."""
        left = _TRIES

        def fails(candidate: Arrays) -> bool:
            nonlocal left
            left -= 1
            facts, found = self.runner.run_general(self.index, candidate, self.seed, ["torch"])
            given, right = _under("given/", found), _under("torch/", found)
            if "hung" in facts:  # every other that does costs as long
                left = 0
            if "raised" in facts or not right:
                return False
            shared = [n for n in given if n in right and np.isfinite(right[n]).all()]
            among = max((float(np.abs(right[n]).max(initial=0)) for n in right), default=0.0)
            return any(not same_to_rounding(given[n], right[n], among) for n in shared)

        for name, value in list(inputs.items()):
            if value.dtype.kind != "f" or not value.size:
                continue
            for plain in (np.ones_like(value), np.rint(value), np.round(2 * value) / 2,
                          np.round(value, 1)):  # fmt: skip
                if left > 0 and fails({**inputs, name: plain}):
                    inputs = {**inputs, name: plain}
                    break
        for name in list(inputs):
            for k in range(inputs[name].size if inputs[name].dtype.kind == "f" else 0):
                changed = inputs[name].copy()
                if changed.flat[k] == 0 or left <= 0:
                    continue
                changed.flat[k] = 0
                if fails({**inputs, name: changed}):
                    inputs = {**inputs, name: changed}
        spelled = ", ".join(f"{k} = {_plain(v)}" for k, v in inputs.items())
        return Shrunk(None, spelled if len(spelled) < 600 else spelled[:600] + " …")


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _floats(reference: Arrays, name: str) -> Arrays:
    return {f"the gradient of {k}": v for k, v in reference.items() if k != name}


def _size(inputs: Arrays) -> int:
    return sum(v.size for v in inputs.values())


def _plain(array: npt.NDArray[Any]) -> str:
    if array.ndim:
        return "[" + ", ".join(_plain(row) for row in array) + "]"
    return f"{array.item() + 0:.3g}"
