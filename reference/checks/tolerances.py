"""Every tolerance of `check`, and the reason for its size.

All are relative to the true number unless they say otherwise. What is compared with a ball is
compared with its midpoint: its radius is far below each of these.
"""

DIGITS = 1e-9
"""A formula's constants have at least nine digits (√(2/π) = 0.7978845608). The smallest mistakes of
the catalogue (an ε of 1e-8 beside a probability, a conversion to float32) change a tensor by about
1e-8."""

SUMMED = 1e-6
"""An entry that is small because its terms cancel may be off by DIGITS times this share of the
largest entry of its tensor."""

EXTRAPOLATED = 8
"""Decimal digits that extrapolated differences of a forward have at the least."""

DIFFERENCES = 1e-7
"""Differences of order four on numbers near 1: their own error stays below 1e-9."""

COARSE = 2e-6
"""For code that names float32 itself: seven digits, less what a sum loses. A mistake that changes a
tensor by less, such as an ε of 1e-8, is not seen in such code."""

IN_FLOAT32 = 1e-3
"""What right code may lose in float32 beside its own gradient in float64, as a share of the tensor:
badly conditioned rows cost four digits; what overflows or is summed in too few digits costs all."""

COARSE_LOSS = 1e-4
"""For a loss in float32, and for the factor between two of them."""

AUTOGRAD = 1e-6
"""The allowed distance of autograd and differences where autograd sees all of the forward."""

SAME = 1e-12
"""One number, computed in two ways in float64: thousands of ulps, and far below DIGITS."""

EXPLAINED = 1e-8
"""The distance up to which an edited sweep explains a wrong gradient."""

NEARLY = 1e-2
"""Up to where a wrong gradient is judged again without tiny constants: ε/p, with 1e-7 and 1e-5.

It only chooses what is tried: what is judged again has to be right to DIGITS."""

STABILISER = 1e-4
"""Constants up to this size keep a logarithm or a quotient finite: log(p + 1e-7)."""

VISIBLE = 1e-4
"""Of a tensor: a difference that a reader sees in the printed digits."""

LOST = 1e-3
"""A share of the true value: beyond it no digit is worth reading."""

UNDERFLOW = 1e-300
"""Absolute: below this a lost number is an underflow."""

MOVED = 1e-5
"""How far a grade moves inputs near 1: differences of order two are then right to nine digits."""

OWN_SLOPE = 1e-6
"""Of the sum of the parts: what those differences may be off by."""

FORWARD = 1e-12
"""Of the largest entry: what two ways to compute one forward in float64 may differ by, where
entries cancel. Forwards that are not the same differ by much more on random numbers."""

ROUTES = 2.0
"""Of a kernel: how much more rounding it may show than the first-order bound of its reference. It
computes the same by another route, whose roundings are others. Measured: see docs/kernels.md."""

FUNCTION_ULPS = 8.0
"""Of exp, tanh and their like: half ulps of the dtype that an operation computes in, as the judge's
`ULPS`; + − × ÷ √ are rounded correctly."""

LINEAR, SHAKEN = 2.0, 3
"""A kernel's problem is used only if its rounding errors act in proportion to their size. To test
this, the reference runs `SHAKEN` times with errors of random sign, `LINEAR` times as large as
rounding makes them. Each result must stay inside twice the bound for errors of that size. If it
does not, a decision (a maximum, a sign) depends on rounding, and the problem says nothing."""
