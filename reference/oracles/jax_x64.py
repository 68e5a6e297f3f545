"""64-bit numbers in JAX, switched on where a gradient is computed and nowhere else.

Without them JAX silently makes float32 of float64. The process's own setting is not touched.
"""

from contextlib import AbstractContextManager


def double_precision() -> AbstractContextManager[None]:
    """Return a context in which JAX keeps float64; it has stood in two places of JAX."""
    import jax

    if hasattr(jax, "enable_x64"):
        found: AbstractContextManager[None] = jax.enable_x64(True)
        return found
    from jax.experimental import enable_x64  # type: ignore[attr-defined]  # before JAX 0.8

    older: AbstractContextManager[None] = enable_x64(True)
    return older
