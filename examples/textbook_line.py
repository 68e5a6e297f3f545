"""A lecture's slide on a linear layer, with typical lines.

    manual-backprop articles examples/textbook_line.py

Each claim is a formula and code for its two sides; whether it holds is decided by evaluation:
"delta" is right, "weight" has shapes that do not fit, "bias" forgets the batch, "slope" is wrong.
"""

from manual_backprop.articles import Article, Claim, Draw, Quantities, System, product


def draw(d: Draw) -> dict[str, object]:
    """Draw a batch of 4 rows; three different widths, so that a transposed product shows."""
    return {"x": d.array(4, 3), "W": d.array(3, 2), "b": d.array(1, 2), "t": d.array(4, 2)}


def forward(m, q: Quantities) -> None:  # type: ignore[no-untyped-def]
    """The slide's network, with the slide's names."""
    q.z = q.x @ q.W + q.b
    q.y = m.tanh(q.z)
    q.L = m.sum((q.y - q.t) * (q.y - q.t)) / 2


delta = (r"\delta", lambda q: (q.y - q.t) * (1 - q.y * q.y))

ARTICLE = Article(
    "slide",
    "A dense layer and half the squared error",
    System("tanh layer", draw, forward, loss="L", samples=0),
    claims=(
        Claim(
            "delta",
            "slide 12, line 1",
            r"\frac{\partial L}{\partial z} = (y - t) * (1 - y^2)",
            lambda q: q.d("L", "z"),
            lambda q: (q.y - q.t) * (1 - q.y * q.y),
        ),
        Claim(
            "weight",
            "slide 12, line 2",
            r"\frac{\partial L}{\partial W} = \delta\, x",
            lambda q: q.d("L", "W"),
            product(delta, "@", ("x", lambda q: q.x)),
        ),
        Claim(
            "bias",
            "slide 12, line 3",
            r"\frac{\partial L}{\partial b} = \delta",
            lambda q: q.d("L", "b"),
            delta[1],
        ),
        Claim(
            "slope",
            "slide 12, line 4",
            r"\tanh'(z) = 1 - z^2",
            lambda q: q.d("y", "z", "nj,nj->nj"),
            lambda q: 1 - q.z * q.z,
            reading="entry by entry",
            correction=lambda q: 1 - q.y * q.y,
            correction_formula=r"1 - y^2",
        ),
    ),
)
