"""Checks with every verdict, as records: what the pages are tried on."""

from typing import Any

import msgspec

from reports.checked import Checked, CheckedTensor, Fault, NamedMistake, Numbers, Part, Worst

SOURCE = """\
def mlp_backward(dout, cache):
    x, W1, h, W2 = cache
    dW2 = h.T @ dout
    dh = dout @ W2.T
    dz = dh * (1 - h)
    dW1 = x.T @ dz
    db1 = dz.sum(axis=0)
    return dW1, db1, dW2
"""

RIGHT = Part(
    "relu_backward",
    "right",
    "the gradient of relu_forward",
    "its own forward, certified",
    20,
    20,
    0,
    (CheckedTensor("dx", "x", 20, 20, 1e-16),),
    fragile=("gives nan at x = 1e308; the value is 0",),
)
MISTAKE = NamedMistake(
    "tanh_square_left_out",
    "The square is missing in the tanh's slope 1 − h².",
    "δz = δh · (1 − h)",
    "δz = δh · (1 − h²)",
    ("dW1", "db1"),
    20,
    20,
    3e-16,
)
WRONG = Part(
    "mlp_backward",
    "wrong",
    "the gradient of mlp_forward",
    "its own forward, certified",
    20,
    0,
    20,
    (
        CheckedTensor("dW1", "W1", 0, 20, 0.7),
        CheckedTensor("db1", "b1", 0, 20, 0.5),
        CheckedTensor("dW2", "W2", 20, 20, 1e-16),
    ),
    ("x",),
    "dz",
    (MISTAKE,),
    (("db1", "it is half of the right one in row 0"),),
    Worst("0:3", "dW1", (1, 2), -1.25, 0.75, 1e-58),
    "N = 1, D = 1: x = [[1]], W1 = [[2]]",
    (Fault("mutated", "the backward changes x in place", "0:0", 20),),
    ("its W is turned",),
    script="print('it differs')\n",
    line=12,
    source=SOURCE,
    operation="tanh",
    numbers=(Numbers("dW1", (1, 2), (0.12345, 2.0), (0.12378, 2.0)),),
    picture=(
        Numbers("dW1", (3, 4), tuple(map(float, range(12))), (0.0,) * 12),
        Numbers("db1", (), (1.0,), (2.0,)),
        Numbers("dV", (6, 9), (0.5, float("nan")) * 27, (1.0, 1e-9) * 27),
    ),
    derivation="y = tanh x.   dy/dx = 1 - y².\n\nThe slope is taken from the output.",
)
FAILED = Part(
    "scale_backward",
    "failed",
    "the gradient of scale",
    "its own forward, certified",
    20,
    20,
    0,
    (CheckedTensor("dx", "x", 20, 20, 1e-17),),
    faults=(Fault("mutated", "the backward changes dout in place", "0:0", 20),),
    line=3,
    source="pass",
)
UNCHECKED = Part(
    "gru_backward",
    "unchecked",
    why="no arguments were found that it runs with",
    wrapper='shapes = {"x": "N D"}\n\n\ndef forward(x):\n    ...\n',
    line=40,
    source="def gru_backward(dout):\n    ...",
)


def checked(*parts: Part, code: int, headline: str, **more: Any) -> Checked:
    """Return a check of layers.py."""
    more = {
        "what": "homework/layers.py",
        "seconds": 1.25,
        "again": "manual-backprop check layers.py --seed 0",
        **more,
    }
    return Checked(exit_code=code, headline=headline, parts=parts, **more)


EVERY = {
    "right": checked(RIGHT, code=0, headline="its gradient is right"),
    "wrong": checked(WRONG, code=1, headline="mlp_backward: not right"),
    "failed": checked(FAILED, code=1, headline="scale_backward: not right"),
    "unchecked": checked(UNCHECKED, code=2, headline="nothing could be checked"),
    "mixed": checked(
        RIGHT,
        WRONG,
        FAILED,
        UNCHECKED,
        code=1,
        headline="mlp_backward, scale_backward: not right; 1 not checked",
    ),
    "allowed": checked(RIGHT, UNCHECKED, code=0, headline="its gradient is right; 1 not checked"),
    "open": checked(RIGHT, UNCHECKED, code=2, headline="its gradient is right; 1 not checked"),
    "strict": checked(
        RIGHT, code=1, headline="its gradient is right; fragile, which --strict does not allow"
    ),
    "hung": checked(
        RIGHT, UNCHECKED, code=3, headline="the target hung; 1 not checked", ended="hung"
    ),
    "crashed": checked(UNCHECKED, code=4, headline="the target crashed", ended="crashed"),
    "ours": checked(
        RIGHT,
        code=2,
        headline="its gradient is right; 1 failed in our own code",
        our_faults=("tanh_backward: KeyError: 'x' (search.py, line 9)",),
    ),
    "empty": checked(
        code=2, headline="nothing could be checked", remarks=("could not import: tqdm",)
    ),
}


def example_checks() -> list[Checked]:
    """Return a check of each kind, each of a file of its own."""
    return [msgspec.structs.replace(c, what=f"homework/{name}.py") for name, c in EVERY.items()]
