"""Which claim is the gradient of which input: by name, by place, by shape.

dW, grads["W"], self.dW, w.g, nabla_w[0], theta1_grad        by name
return dx, dw, db                                            by place
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from reference.checks.code import NumericValue, Path
from reference.checks.code import vocabulary as words
from reports.records import grouped

Pairs = list[tuple[Path, Path]]

_CONTAINERS = frozenset(
    "self global params parameters param grads grad gradients gradient g "
    "step cache layers p "
    "nabla d delta deltas update updates".split()
)


def matched(
    claims: Mapping[Path, NumericValue],
    inputs: Mapping[Path, NumericValue],
    values: Mapping[Path, NumericValue],
    others: Mapping[Path, NumericValue] = MappingProxyType({}),
) -> tuple[Pairs, Pairs, list[Path]]:
    """Return (claims of inputs, claims of the forward's own values, claims of nothing known).

    claims, inputs, values: what came back, what went in, what the forward named; by path.
    others: what went in and has no gradient: labels, masks.
    """
    claims = _once(claims)
    if places := _all_by_place(claims, inputs, values):
        return places, [], []
    free = dict(inputs)
    pairs: Pairs = _lists(claims, free)
    middle: Pairs = []
    left: list[Path] = []
    done = {c for c, _ in pairs}
    for claim, value in claims.items():
        if not np.size(value) or claim in done:
            continue
        if claim[0] == "step":  # of a weight that is called as it likes: E, L
            target = claim[1:]
            if target in free:
                pairs.append((claim, target))
                free.pop(target)
            continue
        if claim[-1].lower() in NOT_GRADIENTS and not _AMONG_GRADIENTS & set(claim[:-1]):
            continue
        found = _by_name(claim, value, free)
        if found is not None:
            pairs.append((claim, found))
            free.pop(found)
            continue
        inner = _by_name(claim, value, {k: v for k, v in values.items() if k not in inputs})
        if (
            inner is not None
            and _named(claim)
            and same_shape(value, values[inner])
            and np.shape(value)
        ):
            middle.append((claim, inner))
        else:
            left.append(claim)
    left = _by_place(left, claims, free, inputs, pairs, others, values)
    return pairs, middle, left


def _all_by_place(
    claims: Mapping[Path, NumericValue],
    inputs: Mapping[Path, NumericValue],
    values: Mapping[Path, NumericValue],
) -> Pairs:
    """Pair `return p, q, b` with x, W, b, where each shape fits and no name is that of a gradient.

    Otherwise only b would be compared. A value of the forward may be returned beside gradients, so
    nothing is paired if there is one.
    """
    pairs = list(zip(claims, inputs, strict=False))
    if len(claims) != len(inputs) or len(pairs) < 2:
        return []
    made = {path: value for path, value in values.items() if path not in inputs}
    for claim, target in pairs:
        value = claims[claim]
        named = _by_name(claim, value, inputs)
        alike = (v for v in made.values() if np.shape(v) == np.shape(value))
        if (
            len(claim) > 1
            or _named(claim)
            or named not in (None, target)
            or same_shape(value, inputs[target]) < 1
            or claim in made
            or any(np.array_equal(value, v) for v in alike)
        ):
            return []
    return pairs


def _once(claims: Mapping[Path, NumericValue]) -> dict[Path, NumericValue]:
    """Return the claims without those that are kept and returned as well."""
    seen: set[int] = set()
    found = {}
    for path, value in claims.items():
        if isinstance(value, np.ndarray):
            if id(value) in seen:
                continue
            seen.add(id(value))
        found[path] = value
    return found


def _lists(claims: Mapping[Path, NumericValue], free: dict[Path, NumericValue]) -> Pairs:
    """Pair lists that number their members differently: dws[0] with weights[1]."""
    pairs: Pairs = []
    for head, members in _by_head(claims).items():
        bases = [p for p in words.gradient_of(head[-1])] or [head[-1]]
        for other, leaves in _by_head(free).items():
            if len(members) != len(leaves) or len(members) < 2:
                continue
            if not any(words.same_thing(b, other[-1]) for b in bases):
                continue
            if [m[-1] for m in members] == [x[-1] for x in leaves]:
                continue
            if all(same_shape(claims[m], free[x]) for m, x in zip(members, leaves, strict=True)):
                pairs += list(zip(members, leaves, strict=True))
                for leaf in leaves:
                    free.pop(leaf)
                break
    return pairs or _in_order(claims, free)


def _in_order(claims: Mapping[Path, NumericValue], free: dict[Path, NumericValue]) -> Pairs:
    """Pair a list of gradients with arguments that were handed over in one list: W, b = params."""
    for members in _by_head(claims).values():
        inside = (p for p in free if len(p) > 1 and p[0] not in ("self", "global"))
        for leaves in grouped(inside, lambda path: path[:-1]).values():
            pairs = list(zip(members, leaves, strict=False))
            if len(members) == len(leaves) > 1 and not any(p[-1].isdigit() for p in leaves):
                if all(same_shape(claims[c], free[p]) == 1.0 for c, p in pairs):
                    for leaf in leaves:
                        free.pop(leaf)
                    return pairs
    return []


def _by_head(paths: Mapping[Path, NumericValue]) -> dict[Path, list[Path]]:
    numbered = (path for path in paths if len(path) > 1 and path[-1].isdigit())
    found = grouped(numbered, lambda path: path[:-1])
    return {k: sorted(v, key=lambda p: int(p[-1])) for k, v in found.items()}


NOT_GRADIENTS = frozenset("loss cost l j e total_loss data_loss nll accuracy acc losses".split())
"""Returned values with these names are not gradients."""
_AMONG_GRADIENTS = frozenset(("grads", "grad", "gradients", "gradient", "nabla"))
"""Where they are: self.grads["E"] is that of an embedding E."""


def _named(claim: Path) -> bool:
    return any(words.is_gradient_name(p) for p in claim)


def _by_name(claim: Path, value: NumericValue, among: Mapping[Path, NumericValue]) -> Path | None:
    """Return the tensor that a claim is named after, of its shape if there is one."""
    best: tuple[float, Path] | None = None
    wanted = _meanings(claim)
    for path, tensor in among.items():
        score = max((_likeness(w, path) for w in wanted), default=0.0)
        score = 3.0 if _is_beside(claim, path) else score
        if score <= 0:
            continue
        score += 0.5 * same_shape(value, tensor)
        if best is None or score > best[0]:
            best = (score, path)
    return best[1] if best is not None else None


def _is_beside(claim: Path, path: Path) -> bool:
    """Whether a claim is kept by the object that holds the tensor: w.grad beside w.data."""
    pure = words.says_gradient(claim[-1]) and not words.gradient_of(claim[-1])
    return pure and len(claim) > 2 and claim[:-1] == path[:-1]


def _meanings(claim: Path) -> list[Path]:
    """Return what a claim's path may be the gradient of: ("dW", "0") -> ("W", "0")."""
    readings: list[Path] = []
    whole_gradient = any(p in _CONTAINERS for p in claim)
    for i, part in enumerate(claim):
        for base in words.gradient_of(part):
            readings.append((*claim[:i], base, *claim[i + 1 :]))
    if whole_gradient or not readings:
        readings.append(claim)
    return [tuple(p for p in r if p not in _CONTAINERS) or r for r in readings]


def _likeness(wanted: Path, path: Path) -> float:
    """Return how well a meaning fits a tensor's path: 3 the same, 2 a synonym, 0 not."""
    bare = tuple(p for p in path if p not in _CONTAINERS) or path
    if [words.plain(p) for p in wanted] == [words.plain(p) for p in bare]:
        return 3.0
    if len(wanted) == len(bare) and all(
        words.same_thing(a, b) for a, b in zip(wanted, bare, strict=True)
    ):
        return 2.0
    # weights[0] is called w0 or W1 by some, and dW1 stands in grads beside layers[0].W
    one, other = "".join(map(words.plain, wanted)), "".join(map(words.plain, bare))
    if one == other:
        return 2.5
    if words.same_thing(wanted[-1], bare[-1]) and wanted[:-1] == bare[:-1]:
        return 2.0
    if len(bare) > 1 and len(wanted) == 1 and words.plain(wanted[0]) == words.plain(bare[-1]):
        return 1.5 if not bare[-1].isdigit() else 0.0
    if len(wanted) > 1 and len(bare) == 1 and words.plain(wanted[-1]) == words.plain(bare[0]):
        return 1.5 if not wanted[-1].isdigit() else 0.0
    return 0.0


def _by_place(
    left: list[Path],
    claims: Mapping[Path, NumericValue],
    free: dict[Path, NumericValue],
    inputs: Mapping[Path, NumericValue],
    pairs: Pairs,
    others: Mapping[Path, NumericValue],
    values: Mapping[Path, NumericValue],
) -> list[Path]:
    """Match claims without a name to the inputs in their order, where the shapes agree."""
    unnamed = [c for c in left if not _named(c) or c[0] in ("", "0")]
    if not pairs and any(c[0].isdigit() for c in left):  # return dz, dz * eps: both by their place
        unnamed = [c for c in left if c[0] not in ("self", "step")]
    if pairs:  # an output that is returned beside its gradients has a name of its own
        unnamed = [c for c in unnamed if c[-1] == "" or c[-1].isdigit()]
    named_rest = [c for c in left if c not in unnamed]
    returned = [c for c in claims if c[0] not in ("self", "step", "global")]
    sole = returned if len(returned) == 1 and not returned[0][-1].isdigit() else []
    data = [p for p in free if p[0] not in ("self", "global")]
    targets = words.targets_among([p[-1] for p in (*inputs, *others)])
    alone = not pairs and len(left) == 1  # backward(d) -> one gradient: that of the input
    for group in (unnamed, named_rest):
        for claim in list(group):
            if (claim[0] == "self" and not _named(claim)) or _of_another_weight(claim, inputs):
                continue
            rest = [p for p in free if p[-1] not in targets]
            rest = rest or ([] if others else list(free))
            fits = [p for p in rest if same_shape(claims[claim], inputs[p]) == 1.0]
            fits = fits or [p for p in rest if same_shape(claims[claim], inputs[p]) > 0]
            a_loss = bool(pairs) and claim[-1] == "0" and np.ndim(claims[claim]) == 0
            if not fits and group is unnamed and len(left) == 1 and not a_loss:
                whole = [p for p in rest if np.shape(claims[claim])[-1:] == (np.size(inputs[p]),)]
                fits = (whole or rest)[:1]  # a Jacobian ends with what it is of, in one row
            if fits and (
                group is unnamed
                or alone
                or ([claim] == sole and fits == data and claim not in values)
                or (len(fits) == 1 and _named(claim) and not (pairs and is_inner(claim)))
            ):
                pairs.append((claim, fits[0]))
                free.pop(fits[0])
                left = [c for c in left if c != claim]
    if pairs:  # (loss.flat[0], dtheta): the first number is not a gradient
        left = [c for c in left if c != ("0",) or np.ndim(claims[c])]
    over = [c for c in unnamed if c in left and c[-1].isdigit()]
    rest = [p for p in free if p[-1] not in targets]
    if pairs and len(over) == len(left) == len(rest):  # a turned one, where the others fit
        pairs += zip(over, rest, strict=True)
        return []
    return left


def _of_another_weight(claim: Path, inputs: Mapping[Path, NumericValue]) -> bool:
    """Whether a claim has the name of a weight, {"W1": …}, and no input has one."""
    known = words.WEIGHTS.match(claim[-1]) and len(claim[-1]) > 1
    return bool(known) and not any(words.WEIGHTS.match(p[-1]) for p in inputs)


def is_inner(claim: Path) -> bool:
    """Whether a claim is named after a layer's value: dA0, dZ2, dh1, delta2."""
    bases = words.gradient_of(claim[-1])
    return any(b[:1].lower() in ("a", "z", "h") or b.isdigit() for b in bases)


OTHER_AXES = 0.5
"""How alike two shapes are where only axes of length one differ."""


def same_shape(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return 1 for equal shapes, OTHER_AXES where only axes of length one differ, else 0."""
    a, b = np.shape(one), np.shape(other)
    if a == b:
        return 1.0
    if [n for n in a if n != 1] == [n for n in b if n != 1]:
        return OTHER_AXES
    return 0.0
