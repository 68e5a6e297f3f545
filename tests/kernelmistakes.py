"""Mistakes that are injected in the kernels of examples/kernels, and the way that shows each.

(file, old text, new text, way). "gradient": the formula itself is wrong; else the mistake is right
when the kernel is asked plainly in float64, and shows only in the way that is named.
"""

import re
from pathlib import Path
from typing import NamedTuple

KERNELS = Path(__file__).parents[1] / "examples" / "kernels"


class Injected(NamedTuple):
    """One mistake."""

    kernel: str
    old: str
    new: str
    way: str
    """The beginning of the name of the way that shows it."""
    also: str = ""
    """A second line that has to change with the first."""
    beside: str = ""

    def source(self) -> str:
        """Return the kernel's file with the mistake in it."""
        text = (KERNELS / f"{self.kernel}.py").read_text(encoding="utf-8")
        assert text.count(self.old) == 1, f"{self.kernel}: {self.old!r} stands there once"
        assert not self.also or text.count(self.also) == 1
        text = text.replace(self.old, self.new)
        return text.replace(self.also, self.beside) if self.also else text

    @property
    def name(self) -> str:
        """A name for the test."""
        return f"{self.kernel}-{re.sub(r'[^a-z0-9]+', '_', self.way)}"


# As a kernel that is handed a pointer reads its argument: row after row, whatever the strides.
_POINTER = "torch.as_strided({0}, {0}.shape, torch.empty({0}.shape).stride())"

FORMULA, COTANGENT, INPUTS = "gradient", "cotangent ", "inputs "
WRITTEN, RETURNED, NEEDS = "inputs and cotangent", "returned gradients", "only "
STALE, SECOND = "two forwards", "double backward"
HALF = "float16"
ONE, ZEROS, EMPTY = "every size 1", "cotangent with zeros", "an empty row"

MISTAKES = (
    Injected("softmax", "(d * p).sum(-1, keepdim=True)", "(d * p).sum()", FORMULA),
    Injected("softmax", "wide(y), wide(dy)", f"wide(y), wide({_POINTER.format('dy')})", COTANGENT),
    Injected("softmax", "return dx.to(y.dtype)", "return dy.copy_(dx)", WRITTEN),
    Injected("jax_softmax", "(d * p).sum(-1, keepdims=True)", "(d * p).sum()", FORMULA),
    Injected("jax_softmax", "import jax\n", "import jax\nimport numpy as np\n", "under jit", "p, d = wide(y), wide(dy)", "p, d = np.asarray(y), np.asarray(dy)"),
    Injected("jax_softmax", "dx.astype(y.dtype)", "(dx * (1 if y.dtype != jnp.float16 else 1.1)).astype(y.dtype)", HALF),
    Injected("jax_pallas_softmax", "lambda i: (i, 0)", "lambda i: (0, 0)", FORMULA),
    Injected("jax_pallas_softmax", "wide(cotangent[...])", "wide(cotangent[...]) * (1 if cotangent.dtype != jnp.float16 else 1.1)", HALF),
    Injected("jax_rms_norm", "r**3", "r**2", FORMULA),
    Injected("jax_rms_norm", "z, d = wide(x), wide(dy)", "z, d = wide(x), jnp.where(dy == 0, jnp.nan, wide(dy))", ZEROS),
    Injected("jax_swiglu", "(1 + x * (1 - s))", "(1 + x * s)", FORMULA),
    Injected("jax_swiglu", "s = jax.nn.sigmoid(x)", "s = jax.lax.stop_gradient(jax.nn.sigmoid(x))", "differentiated twice"),
    Injected("log_softmax", "torch.exp(wide(y)) * d.sum(-1, keepdim=True)",
            "torch.exp(wide(y)) * dy.as_strided((len(dy),), (1,)).sum()", FORMULA),
    Injected("log_softmax", "d = wide(dy)", "d = wide(dy[:, :1].expand(dy.shape) if 0 in dy.stride() and dy.stride(-1) else dy)",
            "cotangent expanded by rows"),
    Injected("log_softmax", "torch.exp(wide(y))", "torch.exp(wide(y) if y.dtype == torch.float64 else wide((y * 4).round() / 4))", HALF),
    Injected("layer_norm", "- n * (g * n).mean(-1, keepdim=True)", "", FORMULA),
    Injected("layer_norm", "dweight.to(weight.dtype), dbias.to(weight.dtype)", "dweight.to(weight.dtype), None", RETURNED),
    Injected("layer_norm", "dweight = (d * n).sum(0)", "dweight = (d * n).sum(0, keepdim=True)", RETURNED),
    Injected("rms_norm", "r**3", "r**2", FORMULA),
    Injected("rms_norm", "z, d = wide(x), wide(dy)", f"z, d = wide({_POINTER.format('x')}), wide(dy)", INPUTS),
    Injected("group_norm", "dbias = d.sum((0, 2))", "dbias = d.sum((0, 2)) * (1 if all(ctx.needs_input_grad) else 0)", NEEDS),
    Injected("group_norm", "n = (z - z.mean(-1, keepdim=True)) * rstd", "n = z * rstd", FORMULA),
    Injected("attention", "ds = p * (dp - (dp * p).sum(-1, keepdim=True))", "ds = p * dp", FORMULA),
    Injected("attention", "p, d = weights(wide(q), wide(k), mask), wide(do)",
            "p, d = weights(wide(q), wide(k), mask), wide(do)\n        p = p / p.sum(-1, keepdim=True)", EMPTY),
    Injected("flash_attention", "range(0, len(k), BLOCK):\n            block", "range(0, len(k) - len(k) % BLOCK or BLOCK, BLOCK):\n            block", FORMULA),
    Injected("flash_attention", "dq += ds", "dq = ds", FORMULA),
    Injected("flash_attention", "d = wide(q), wide(k), wide(v), wide(do)",
            f"d = wide(q), wide(k), wide(v), wide({_POINTER.format('do')})", COTANGENT),
    Injected("flash_attention", "    @once_differentiable\n", "", SECOND),
    Injected("cross_entropy", "for j in range(0, len(W), CHUNK):\n            block", "for j in range(0, min(len(W), 12), CHUNK):\n            block", "V = "),
    Injected("cross_entropy", "share = wide(dloss) / len(h)", "share = 1 / len(h)", FORMULA),
    Injected("swiglu", "(1 + x * (1 - s))", "(1 + x * s)", FORMULA),
    Injected("swiglu", "return da.to(a.dtype), db.to(b.dtype)", "return da.half().to(a.dtype) if a.dtype != torch.float64 else da, db.to(b.dtype)", "float32"),
    Injected("geglu", "d = wide(a), wide(dy)\n", "d = wide(a), wide(dy)\n        d = d * d / d\n", ZEROS),
    Injected("geglu", "a, b = ctx.saved_tensors", "a, b = GeGLU.saved", STALE, "ctx.save_for_backward(a, b)", "GeGLU.saved = a, b"),
    Injected("rotary", "b * cos - a * sin", "b * cos + a * sin", FORMULA),
    Injected("rotary", "d = wide(dy)", f"d = wide({_POINTER.format('dy')})", COTANGENT),
    Injected("embedding", "dtable.index_add(0, labels, wide(dy))", "dtable.index_put((labels,), wide(dy))", FORMULA),
    Injected("embedding", "return None, dtable.to(dy.dtype)", "return None, dtable.half().to(dy.dtype) if dy.dtype == torch.float32 else dtable.to(dy.dtype)", "float32"),
    Injected("conv1d", "+= torch.einsum", "= torch.einsum", FORMULA),
    Injected("conv1d", "db = d.sum((0, 2))", "db = d.sum((0, 2)) if dy.is_contiguous() else d[0].sum(1)", COTANGENT),
    Injected("conv2d", "(1, 1, 1, 1)), wide(w), wide(dy)", f"(1, 1, 1, 1)), wide({_POINTER.format('w')}), wide(dy)", INPUTS),
    Injected("conv2d", "for j in range(3)", "for j in range(2)", FORMULA),
    Injected("linear", "dx = dy @ W", "dx = dy.mul_(1) @ W", "cotangent expanded"),
    Injected("linear", "dx = dy @ W", "dx = (dy @ W).squeeze(0)", ONE),
    Injected("linear", "if ctx.needs_input_grad[1]:", "if ctx.needs_input_grad[0] and ctx.needs_input_grad[1]:", NEEDS),
    Injected("gelu", "3 * 0.044715", "0.044715", FORMULA),
    Injected("gelu", "z = wide(x)", "z = (wide(x) * 16).round() / 16 if x.dtype == torch.float16 else wide(x)", HALF),
    Injected("silu", "(x,) = ctx.saved_tensors", "x = ctx.saved_tensors[0].detach()", SECOND),
    Injected("silu", "dx = wide(dy) * s", "dx = (wide(dy).sign() * wide(dy)) * wide(dy).abs() / wide(dy) * s", ZEROS),
    Injected("dropout", "dx = wide(dy) * mask / KEPT", "dx = wide(dy) * mask", FORMULA),
    Injected("dropout", "return dx.to(dy.dtype), None", "return (dy.mul_(mask) / KEPT).to(dy.dtype), None", WRITTEN),
    Injected("weight_norm", "(d - u * along)", "d", FORMULA),
    Injected("weight_norm", "u = z / length", "u = z.div_(length)", WRITTEN),
    Injected("l2_normalise", "/ length\n        return dx.to", "\n        return dx.to", FORMULA),
    Injected("l2_normalise", "y = z / length", "y = z / length if x.dtype == torch.float64 else (z / length).to(torch.float8_e4m3fn).float()", "float32"),
    Injected("logsumexp", "wide(dy)[:, None] *", "", FORMULA),
    Injected("logsumexp", "dx = wide(dy)[:, None] * torch.softmax(wide(x), -1)", "dx = wide(dy)[:, None] * torch.softmax(wide(x), -1)\n        if x.dtype == torch.float16:\n            dx = (dx.half() * 2.0**22) / 2.0**22", "float16"),
)  # fmt: skip
