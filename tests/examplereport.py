"""Records of an invented run, in kind and number like a real one's; none of it is true."""

import random
from collections.abc import Sequence

import msgspec

from reports.records import (
    Accuracy,
    Bench,
    Case,
    Cell,
    ClaimRecord,
    Convention,
    Coverage,
    Enclosure,
    Finding,
    LayerShape,
    Limit,
    NetworkShape,
    OracleStatus,
    Record,
    Run,
    TrialRow,
    decade,
)

ACTIVATIONS = (
    "identity relu leaky_relu relu6 elu selu celu gelu gelu_tanh silu mish softplus softsign "
    "sigmoid log_sigmoid hard_sigmoid tanh hardtanh tanhshrink hard_swish softshrink hardshrink "
    "softmax log_softmax"
).split()
LOSSES = (
    "squared_error mse l1 smooth_l1 huber log_cosh binary_cross_entropy bce_with_logits "
    "categorical_cross_entropy cross_entropy nll kl_div hinge squared_hinge poisson_nll "
    "gaussian_nll"
).split()
REGIMES = (
    "ordinary lattice kink_aimed saturated tiny huge subnormal ill_conditioned repeated structure"
).split()
DTYPES = ("float32", "float64")


def example_records(problems: int = 20_000, findings: int = 9, seed: int = 0) -> list[Record]:
    """Return all records of an invented run of `problems` problems."""
    draw = random.Random(seed)
    cells = _cells(draw, problems)
    verdicts: dict[str, int] = {}
    for cell in cells:
        for verdict, count in cell.verdicts.items():
            verdicts[verdict] = verdicts.get(verdict, 0) + count
    run = Run(
        command=f"manual-backprop report --problems {problems} --seed {seed} --dtype both",
        seed=seed,
        problems=problems,
        version="0.1.0",
        dtypes=DTYPES,
        activations=tuple(ACTIVATIONS),
        losses=tuple(LOSSES),
        regimes=tuple(REGIMES),
        oracles=(
            OracleStatus(name="manual", version="0.1.0"),
            OracleStatus(name="torch", version="2.13.0"),
            OracleStatus(name="jax", version="0.10.2"),
            OracleStatus(name="certified", version="python-flint 0.9.0"),
        ),
        verdicts=verdicts,
        entries=problems * 147,
        audited=problems // 100,
        environment={
            "python": "3.11.2",
            "numpy": "2.4.0",
            "torch": "2.13.0+cpu",
            "jax": "0.10.2 (x64 on)",
            "blas": "openblas 0.3.30, 2 threads",
            "processor": "x86_64, 2 cores, AVX2",
        },
    )
    return [
        run,
        *cells,
        *(_finding(draw, i) for i in range(findings)),
        *_conventions(),
        *_accuracy(draw),
        *_trials(),
        *_claims(),
        *_coverage(problems),
        *_limits(),
        *_bench(),
    ]


def million_records() -> list[Record]:
    """Return an invented run of a million problems, with as much in each section as a real one.

    The ledger, the trial and the bench are the kept ones; the rest is invented.
    """
    from reference.conventions import ledger
    from reference.running import sections

    kept: list[Record] = [*sections.baselines()]
    for file in sorted(ledger.FOLDER.glob("*.json"))[-1:]:
        kept += ledger.read(file)
    kept += [
        msgspec.structs.replace(claim, claim=f"{claim.claim}-{i}")
        for claim in _claims()
        for i in range(84)
    ]
    kinds = {type(record) for record in kept}
    example = example_records(1_000_000, findings=2_000)
    return [*(record for record in example if type(record) not in kinds), *kept]


def _cells(draw: random.Random, problems: int) -> list[Cell]:
    keys = [(a, lo, d, r) for a in ACTIVATIONS for lo in LOSSES for d in DTYPES for r in REGIMES]
    cells = []
    for i, (activation, loss, dtype, regime) in enumerate(keys):
        n = problems // len(keys) + (i < problems % len(keys))
        if not n:
            continue
        roundoff = 6e-8 if dtype == "float32" else 1.1e-16
        worst = roundoff * 10 ** draw.uniform(-0.3, 1.6)
        verdicts = {"AGREE": n}
        spice = draw.random()
        verdict = ""
        if regime == "saturated" and activation in ("tanh", "sigmoid") and spice < 0.4:
            verdict, worst = "PRECISION(torch)", worst * 10 ** draw.uniform(2, 5)
        elif regime == "kink_aimed" and ("relu" in activation or "hard" in activation):
            verdict, worst = "CONVENTION", draw.uniform(0.05, 0.6)
        elif regime == "huge" and activation == "gelu_tanh" and spice < 0.3:
            verdict, worst = "DEVIATES(jax)", draw.uniform(0.5, 1)
        elif regime == "subnormal" and loss == "poisson_nll":
            verdict, worst = "DEVIATES(torch)", draw.uniform(1e-4, 1)
        elif spice < 0.04:
            worst *= 30
        if verdict:
            verdicts = {"AGREE": n - 1, verdict: 1} if n > 1 else {verdict: 1}
        cells.append(
            Cell(
                activation=activation,
                loss=loss,
                dtype=dtype,
                regime=regime,
                n=n,
                verdicts=verdicts,
                worst_scaled=worst,
                worst_at=f"0:{draw.randrange(problems)}",
                worst_tensor="layers.0.weight",
                worst_between="manual, torch",
                histogram={decade(roundoff): n - n // 3, decade(worst): max(1, n // 3)},
            )
        )
    return cells


_FINDINGS = (
    ("DEVIATES(torch)", "poisson_nll", "loss", "subnormal", "torch", "flushed", 41,
     "PyTorch flushes the gradient to zero where the truth is a subnormal number."),
    ("DEVIATES(jax)", "gelu_tanh", "layers.1.z", "huge", "jax", "nonfinite", 17,
     "JAX answers NaN where the certified gradient is finite: x³ overflows inside its tanh."),
    ("CONVENTION", "relu6", "layers.0.z", "kink_aimed", "", "kink", 212,
     "At x = 6 PyTorch takes the slope 0 and JAX takes 1/2; both lie in [0, 1]."),
    ("PRECISION(torch)", "tanh", "layers.0.z", "saturated", "torch", "digits", 388,
     "PyTorch loses 9 digits of the slope: 1 − y² cancels where tanh is saturated."),
    ("PRECISION(torch,jax)", "sigmoid", "layers.2.z", "saturated", "torch,jax", "digits", 95,
     "PyTorch and JAX lose digits of p·(1 − p) where p is close to 1."),
    ("PRECISION(jax)", "dense", "layers.0.weight", "subnormal", "jax", "flush", 63,
     "JAX flushes a product below the normal range to zero."),
    ("CONVENTION", "l1", "loss", "lattice", "", "kink", 77,
     "At y = t JAX takes the slope 0 and PyTorch 0, the hand-written side 1; all lie in [−1, 1]."),
    ("SKIPPED(jax)", "gaussian_nll", "loss", "structure", "jax", "skipped", 4,
     "JAX has no counterpart with a full variance; its composition was not drawn."),
)  # fmt: skip


def _finding(draw: random.Random, i: int) -> Finding:
    verdict, operation, step, regime, who, kind, count, sentence = _FINDINGS[i % len(_FINDINGS)]
    dtype = DTYPES[(i // len(_FINDINGS)) % 2]
    is_loss = operation in LOSSES
    layers = (
        LayerShape(width=8, activation="tanh" if is_loss else operation),
        LayerShape(width=5, activation="gelu_tanh", bias=False),
        LayerShape(width=3, activation="leaky_relu", parameters={"slope": 0.0078125}),
    )
    truth = draw.uniform(-1, 1)
    at = f"0:{draw.randrange(20_000)}"
    wrong = verdict.startswith("DEVIATES")
    answers = {
        "manual": repr(truth),
        "torch": "0.0" if who == "torch" and wrong else repr(truth * (1 + 2e-16)),
        "jax": "nan" if who == "jax" and wrong else repr(truth * (1 - 1e-16)),
    }
    convention = verdict == "CONVENTION"
    case = Case(
        at=at,
        network=NetworkShape(
            input_width=4,
            layers=layers,
            loss=operation if is_loss else "cross_entropy",
            loss_parameters={} if is_loss else {"label_smoothing": 0.125},
            reduction="mean",
        ),
        batch=4,
        dtype=dtype,
        regime=regime,
        tensor="layers.0.weight",
        entry=(2, 5),
        answers=answers,
        enclosure=Enclosure(
            low="0" if convention else f"{truth:.17f}4932847298347",
            high="1" if convention else f"{truth:.17f}4932847298351",
            digits=None if convention else 30,
            thin=not convention,
        ),
        ulp={
            "manual": 0.4,
            "torch": 1.1e12 if wrong else 2.0,
            "jax": float("inf") if wrong else 1.0,
        },
        scaled={"manual": 3e-17, "torch": 1.0 if wrong else 2e-16, "jax": float("nan")},
        bound="7.1e-15 (textbook)",
        first_diverging_step=step if not is_loss else "loss",
        values={
            "x": [[repr(draw.uniform(-1, 1)) for _ in range(4)] for _ in range(4)],
            "layers.0.weight": [[repr(draw.uniform(-1, 1)) for _ in range(8)] for _ in range(4)],
            "targets": ["0", "2", "1", "1"],
        },
        repro=_REPRO.format(truth=truth) if wrong else None,
        diagnosis="the derivative is taken at the activation, not at the pre-activation"
        if i == 1
        else None,
    )
    return Finding(
        operation=operation,
        verdict=verdict,
        count=count,
        example=case,
        step=step,
        who=who,
        kind=kind,
        dtype=dtype,
        others=tuple(f"0:{draw.randrange(20_000)}" for _ in range(min(count - 1, 20))),
        sentence=sentence,
    )


_REPRO = """\
import torch

x = torch.tensor([[0.25, -1.0], [3.0, 0.5]], dtype=torch.float64, requires_grad=True)
y = torch.nn.functional.gelu(x, approximate="tanh")
y.sum().backward()
print(x.grad[1, 0])  # got 0.0
# the certified gradient is {truth!r}
"""


def _conventions() -> list[Convention]:
    rows = []
    places: Sequence[tuple[str, str, str, str, str, str]] = (
        ("relu", "kink", "0.0", "0", "0", "0"),
        ("relu6", "kink", "6.0", "0", "0", "0.5"),
        ("relu6", "1 ulp above", "6.000000000000001", "0", "0", "0"),
        ("hardtanh", "kink", "1.0", "0", "0", "1"),
        ("softshrink", "kink", "0.5", "1", "0", "0"),
        ("sigmoid", "inf", "inf", "0", "0", "nan"),
        ("log_sigmoid", "-inf", "-inf", "1", "1", "nan"),
        ("elu", "kink", "-0.0", "1", "1", "1"),
    )
    for operation, situation, value, manual, torch, jax in places:
        for dtype in DTYPES:
            rows.append(
                Convention(
                    operation=operation,
                    kind="activation",
                    situation=situation,
                    input=value,
                    quantity="slope",
                    dtype=dtype,
                    answers={"manual": manual, "torch": torch, "jax": jax},
                    truth="[0, 1]" if situation == "kink" else manual,
                    admissible={"manual": True, "torch": True, "jax": jax != "nan"},
                    deviation={} if jax != "nan" else {"jax": "NaN for a finite truth"},
                )
            )
    for loss in LOSSES:
        rows.append(
            Convention(
                operation=loss,
                kind="loss",
                situation="zero target",
                input="y = 0.25, t = 0",
                quantity="value",
                dtype="float64",
                answers={"manual": "0.0", "torch": "0.0", "jax": "0.0"},
                truth="0",
                admissible={"manual": True, "torch": True, "jax": True},
            )
        )
    return rows


def _accuracy(draw: random.Random) -> list[Accuracy]:
    rows = []
    inputs = tuple(round(-12 + 24 * i / 200, 2) for i in range(201))
    for kind, operations in (("activation", ACTIVATIONS), ("loss", LOSSES)):
        for operation in operations:
            for quantity in ("value", "slope"):
                for dtype in DTYPES:
                    for implementation in ("manual", "torch", "jax"):
                        base = {"manual": 0.8, "torch": 1.6, "jax": 2.1}[implementation]
                        errors = tuple(
                            round(abs(draw.gauss(0, base)) * (1 + (abs(x) > 8) * 9), 3)
                            for x in inputs
                        )
                        with_curve = kind == "activation" and dtype == "float64"
                        rows.append(
                            Accuracy(
                                operation=operation,
                                kind=kind,
                                quantity="value" if quantity == "value" else "slope",
                                dtype=dtype,
                                implementation=implementation,
                                worst_ulp=max(errors) if operation != "tanh" else 4.5e15,
                                worst_scaled=max(errors) * 1.1e-16,
                                worst_input=repr(inputs[errors.index(max(errors))]),
                                tight_share=0.97 if implementation == "torch" else 1.0,
                                n=4000,
                                inputs=inputs if with_curve else (),
                                errors=errors if with_curve else (),
                                curve=tuple(max(x, 0.0) for x in inputs) if with_curve else (),
                            )
                        )
    return rows


def _trials() -> list[Record]:
    rows: list[Record] = []
    for width in (4, 16, 64, 128):
        for k in (2, 6, 10, 14):
            rows.append(
                TrialRow(
                    section="sensitivity",
                    row=f"width {width}, one entry wrong by 1e-{k}",
                    columns={
                        "manual-backprop": 1.0 if k < 12 else 0.62,
                        "gradcheck, slow": 1.0 if k < 4 else 0.0,
                        "gradcheck, fast": 0.4 if k < 4 else 0.0,
                        "check_grads": 0.7 if k < 4 else 0.0,
                    },
                )
            )
    for family in ("forward", "backward", "source", "comparison"):
        injected = {"forward": 40, "backward": 96, "source": 61, "comparison": 7}[family]
        rows.append(
            TrialRow(
                section="mutants", row=family, columns={"injected": injected, "killed": injected}
            )
        )
    for dtype in DTYPES:
        rows.append(
            TrialRow(
                section="false alarms",
                row=f"{dtype}, all regimes",
                columns={"networks": 50_000, "false alarms": 0},
            )
        )
    return rows


def _claims() -> list[ClaimRecord]:
    return [
        ClaimRecord(
            article="000",
            claim="000-7",
            title="Backpropagation in a multilayer perceptron",
            where="equation (7)",
            statement="The cotangent of the last pre-activation is p − t.",
            formula=r"\frac{\partial L}{\partial z_k} = p_k - t_k",
            verdict="RIGHT",
            numbers={"networks tried": "2,000", "largest scaled error": "3.1e-16"},
        ),
        ClaimRecord(
            article="003",
            claim="003-2",
            title="Binary classification by hand",
            where="figure 2, line 14",
            statement="dW is the product of the input and the error, averaged over the batch.",
            formula=r"\frac{\partial L}{\partial W} = \frac{1}{N} X^\top (p - t)",
            verdict="WRONG",
            correction=r"The code sums and does not divide by \(N\).",
            counterexample="N = 2, x = [[1], [1]], t = [1, 0]: printed 0.5, certified 0.25",
            numbers={"printed": "0.5", "certified": "0.25"},
        ),
    ]


def _coverage(problems: int) -> list[Record]:
    rows: list[Record] = [
        Coverage(what="regime", name=regime, count=problems // len(REGIMES)) for regime in REGIMES
    ]
    rows += [Coverage(what="kink met", name=a, count=37 + len(a)) for a in ACTIVATIONS[1:12]]
    rows += [Coverage(what="depth", name=str(d), count=problems // 4) for d in range(1, 5)]
    rows += [Coverage(what="discarded", name="no finite loss", count=12)]
    return rows


def _limits() -> list[Record]:
    return [
        Limit(
            title="A bug that shows at one sample only",
            text="Of the problems drawn, 4% have N = 1. A mistake that needs N = 1 and one certain "
            "activation was met about 30 times.",
        ),
        Limit(
            title="A mistake that both frameworks and the definition share",
            text="The certified gradient is that of the definition as written here. A wrong "
            "definition that PyTorch and JAX share would pass.",
        ),
        Limit(
            title="Wide layers",
            text="Widths above 128 are not drawn; sums of more than 128 terms are checked nowhere.",
        ),
    ]


def _bench() -> list[Record]:
    shapes = (("4-8-3", 4, 2.1e-6), ("64-64-64-10", 32, 2.6e-5), ("784-256-128-10", 128, 1.9e-3))
    ratios = {"manual, obvious": 5.4, "manual, fast": 3.0, "torch eager": 18.0, "jax.jit": 7.9}
    return [
        Bench(
            shape=shape,
            batch=batch,
            dtype="float32",
            implementation=name,
            seconds=floor * max(1.08, ratio / (1 + i * 2)),
            ratio_to_floor=max(1.08, ratio / (1 + i * 2)),
        )
        for i, (shape, batch, floor) in enumerate(shapes)
        for name, ratio in ratios.items()
    ]
