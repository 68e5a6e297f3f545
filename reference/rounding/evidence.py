"""Why a judgement came out as it did: the worst entry, its enclosure, its bound, the nearest kink.

Made for what leaves the screen only, and ready for `reports.records`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from manual_backprop.network import Network
from reference.arithmetic.balls import Ball, precision
from reference.arithmetic.local import at_number, at_row, constants
from reference.oracles.certified import Certificate, loss_terms, operations
from reports.records import Enclosure, Kink

if TYPE_CHECKING:
    from reference.judge import Bench, TensorFinding

_DIGITS = 32


NO_NUMBER = ("undefined", "unbounded")
"""What an enclosure says where there is no proven number: 0/0, the slope of log at 0."""


@dataclass(frozen=True)
class Evidence:
    """What a dispute carries: the entry, every answer there, the proof and the bound.

    `step` is where the answers first part, going back from the loss, and `operation` what is
    computed there; `mark` says "range" or "flush" where the dtype's range had a part in it.
    """

    tensor: str
    entry: tuple[int, ...]
    operation: str
    step: str
    answers: Mapping[str, str] = field(default_factory=dict)
    enclosure: Enclosure | None = None
    ulp: Mapping[str, float] = field(default_factory=dict)
    scaled: Mapping[str, float] = field(default_factory=dict)
    bound: str = ""
    kink: Kink | None = None
    mark: str = ""
    sentence: str = ""


def gather(
    bench: "Bench", kind: str, who: Sequence[str], findings: Sequence["TensorFinding"]
) -> Evidence:
    """Return the evidence for a verdict."""
    certificate = bench.certificate
    tensor, entry, finding = _where(bench, kind, who, findings)
    step = _first_step(certificate, kind, who, findings, tensor)
    leaf = certificate[tensor]
    truth = float(leaf.high[entry])
    scale = float(np.abs(leaf.high).max(initial=0.0))
    values = {}
    for name in bench.answers:
        value = bench.tensor(name, tensor)
        if value is not None and value.shape == leaf.shape:
            values[name] = float(value[entry])
    with np.errstate(over="ignore"):  # a truth beyond the dtype has no spacing: ULP are infinite
        spacing = float(np.spacing(np.abs(np.asarray(truth, bench.problem.dtype))))
    ulp, scaled = {}, {}
    for name, found in values.items():
        errors = bench.errors(name, tensor)
        error = abs(found - truth) if errors is None else float(errors[entry])
        ulp[name] = error / spacing if np.isfinite(error / spacing) else float("inf")
        scaled[name] = error / scale if scale and np.isfinite(error) else float("inf")
        if error == 0:
            scaled[name] = 0.0
    evidence = Evidence(
        tensor=tensor,
        entry=entry,
        operation=operation_at(certificate.problem.network, step),
        step=step,
        answers={name: repr(value) for name, value in values.items()},
        enclosure=enclosure_of(leaf.ball(entry), bool(leaf.thick[entry])),
        ulp=ulp,
        scaled=scaled,
        bound=_bound(finding),
        kink=nearest_kink(certificate) if kind in ("DEVIATES", "CONVENTION", "ROUNDING") else None,
        mark=_mark(bench, finding),
    )
    return Evidence(**{**vars(evidence), "sentence": _sentence(kind, who, evidence, finding)})


def _where(
    bench: "Bench", kind: str, who: Sequence[str], findings: Sequence["TensorFinding"]
) -> tuple[str, tuple[int, ...], "TensorFinding | None"]:
    """Return the tensor and entry that the verdict is about."""
    if kind == "CONVENTION":
        for tensor, leaf in bench.certificate.leaves.items():
            values = [v for o in bench.judged if (v := bench.tensor(o, tensor)) is not None]
            if len(values) > 1 and leaf.thick.any():
                with np.errstate(invalid="ignore"):
                    apart = np.asarray(np.max(values, axis=0) - np.min(values, axis=0), np.float64)
                apart = np.where(leaf.thick, np.where(np.isnan(apart), np.inf, apart), -1.0)
                if apart.max() > 0:
                    entry = np.unravel_index(int(np.argmax(apart)), leaf.shape)
                    return tensor, tuple(int(i) for i in entry), None
    about = [f for f in findings if f.oracle in who] or list(findings)
    if kind == "DEVIATES":
        about = [f for f in about if f.strength is None] or about
    if kind == "PRECISION":
        about = [f for f in about if f.strength is not None and f.strength.name != "tight"] or about
    if not about:
        return "loss", (0,) * len(bench.certificate["loss"].shape), None
    if kind in ("DEVIATES", "PRECISION"):
        worst = about[0]  # the first one back from the loss: what follows only inherits
    else:
        worst = max(about, key=lambda f: _ratio(f.error, f.allowed))
    shape = bench.certificate[worst.tensor].shape
    entry_ = worst.entry if len(worst.entry) == len(shape) else (0,) * len(shape)
    return worst.tensor, entry_, worst


def _ratio(error: float, allowed: float) -> float:
    if not np.isfinite(allowed):
        return 0.0
    return error / allowed if allowed else float("inf") if error else 0.0


def _first_step(
    certificate: Certificate,
    kind: str,
    who: Sequence[str],
    findings: Sequence["TensorFinding"],
    tensor: str,
) -> str:
    """Return the first step, going back from the loss, at which somebody named is outside."""
    if kind not in ("DEVIATES", "PRECISION"):
        return tensor
    outside = {
        f.tensor
        for f in findings
        if f.oracle in who
        and (f.strength is None or (kind == "PRECISION" and f.strength.name != "tight"))
    }
    return next((name for name in certificate.leaves if name in outside), tensor)


def operation_at(network: Network, step: str) -> str:
    """Return the operation whose backward makes the cotangent at a step."""
    if step == "loss" or step == f"layers.{len(network.layers) - 1}.a":
        return network.loss
    if step.endswith(".z"):
        return network.layers[int(step.split(".")[1])].activation
    return "dense"


def enclosure_of(ball: Ball, thick: bool) -> Enclosure:
    """Return a ball as two decimals; a thin one as its proven digits."""
    if not ball.is_finite():
        text = NO_NUMBER[0] if ball.is_nan() else NO_NUMBER[1]
        return Enclosure(low=text, high=text, digits=0, thin=False)
    with precision(max(256, ball.bits() + 64)):
        low, high = (end.mid().str(_DIGITS, radius=False) for end in (ball.lower(), ball.upper()))
    digits = min(int(ball.rel_accuracy_bits() * 0.30102), 10_000)
    return Enclosure(low=low, high=high, digits=None if thick else digits, thin=not thick)


def nearest_kink(certificate: Certificate) -> Kink | None:
    """Return the kink nearest to the problem: how far its decision is from turning, and where.

    The distance is that of the operation's own input, to first order: |c| over the sum of the
    slopes of the decision variable c.
    """
    found = []
    with precision(certificate.bits):
        for step, entry, local in operations(certificate):
            for i, decision in enumerate(local.decisions):
                slopes = decision.slope
                by = slopes.by.values() if hasattr(slopes, "by") else [slopes]
                reach = sum(abs(float(s)) for s in by)
                if reach > 0 and np.isfinite(reach):
                    found.append((abs(float(decision.value)) / reach, step, entry, i))
        for distance, step, entry, i in sorted(found, key=lambda kink: kink[0])[:6]:
            below, above = _one_sided(certificate, step, entry, i)
            if not all(p.overlaps(q) for p, q in zip(below, above, strict=True)):
                pair = next((p, q) for p, q in zip(below, above, strict=True) if not p.overlaps(q))
                where = f"{step}[{', '.join(map(str, entry))}]"
                left, right = (p.mid().str(17, radius=False) for p in pair)
                return Kink(distance=distance, where=where, left=left, right=right)
    return None


def _one_sided(
    certificate: Certificate, step: str, entry: tuple[int, ...], decision: int
) -> tuple[list[Ball], list[Ball]]:
    """Return the slopes of one operation with one decision taken each way."""
    network = certificate.problem.network
    if step == "loss":
        terms = list(loss_terms(certificate.problem, certificate.layers[-1].a))
        width = network.widths[-1]
        term = terms[entry[0] * width + entry[1] if len(entry) == 2 else entry[0]]
        locals_ = [[term(forced={decision: taken})] for taken in (False, True)]
    else:
        i = int(step.split(".")[1])
        layer, ran = network.layers[i], certificate.layers[i]
        arguments, definition = constants(layer.parameters), layer.operation.definition
        if layer.operation.rowwise:
            row = ran.z[entry[0] * layer.width : (entry[0] + 1) * layer.width]
            locals_ = [
                at_row(definition, row, (), arguments, forced={decision: taken})
                for taken in (False, True)
            ]
        else:
            z = ran.z[entry[0] * layer.width + entry[1]]
            locals_ = [
                [at_number(definition, z, (), arguments, forced={decision: taken})]
                for taken in (False, True)
            ]
    below, above = ([s for local in found for s in _slopes(local)] for found in locals_)
    return below, above


def _slopes(local: Any) -> list[Ball]:
    return local.slope if isinstance(local.slope, list) else [local.slope]


def _bound(finding: "TensorFinding | None") -> str:
    if finding is None:
        return "every slope between the one-sided ones, and rounding"
    if finding.reason not in ("rounding", "the better reference"):
        return finding.reason
    strength = finding.strength.name if finding.strength else "customary"
    source = "rounding carried through the network"
    if finding.reason == "the better reference":
        source = "the better reference's own error, times the stated factor"
    return f"{finding.allowed:.3g} ({strength}: {source})"


def _mark(bench: "Bench", finding: "TensorFinding | None") -> str:
    if finding is not None and finding.strength is not None and finding.strength.flush:
        return "flush"
    if finding is not None and finding.reason == "the screen":
        return ""  # no bound was worked out
    strength = finding.strength if finding is not None else None
    known = [strength] if strength is not None else []
    return "range" if any(bench.radii(s).ranged for s in known) else ""


def _sentence(
    kind: str, who: Sequence[str], evidence: Evidence, finding: "TensorFinding | None"
) -> str:
    place = f"{evidence.tensor}{list(evidence.entry) if evidence.entry else ''}"
    names = " and ".join(who)
    enclosure = evidence.enclosure
    if kind in ("CONVENTION", "ROUNDING") and enclosure and enclosure.low in NO_NUMBER:
        return f"At {place} the truth is {enclosure.low}: nothing is held against an answer there."
    match kind:
        case "AGREE":
            return "All answers lie inside the screen, and the proven gradient admits them."
        case "CONVENTION":
            low, high = (enclosure.low, enclosure.high) if enclosure else ("", "")
            return f"At {place} every slope from {low} to {high} is admissible, and each is one."
        case "ROUNDING":
            why = ", the range of the dtype left on the way" if evidence.mark == "range" else ""
            return f"The answers differ at {place}, each within proven rounding of the truth{why}."
        case "SKIPPED":
            reason = f"{names} could not answer" if names else "no other side was asked"
            return f"Nothing to compare with: {reason}."
        case "CRASHED":
            return f"{names} failed while answering."
    if finding is None:
        return ""
    if enclosure is None or finding.reason not in ("rounding", "the better reference"):
        return f"{names}: {finding.reason} at {place}."
    are = "are" if len(who) > 1 else "is"
    off = f"{are} {finding.error:.3g} from the proven {enclosure.brief} at {place}"
    if kind == "PRECISION":
        how = "flushed to zero" if evidence.mark == "flush" else "right by custom, digits are lost"
        return f"{names} {off}: {how}."
    return f"{names} {off}, outside the bound {evidence.bound}."
