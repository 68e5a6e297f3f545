"""The environment that numbers depend on: versions, threads, processor, BLAS, settings."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path

_PACKAGES = (
    "manual-backprop",
    "numpy",
    "scipy",
    "torch",
    "jax",
    "jaxlib",
    "optax",
    "hypothesis",
    "python-flint",
    "array-api-compat",
)
# Variables that change the kernels or the number of threads, and with them the last bits.
_VARIABLES = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_L2_SIZE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
    "NPY_DISABLE_CPU_FEATURES",
    "JAX_ENABLE_X64",
    "JAX_PLATFORMS",
    "XLA_FLAGS",
)


def environment() -> dict[str, str]:
    """Return everything that the numbers of a run depend on, as text.

    It imports the installed frameworks, because only they know what they run on.
    """
    found, variables = installed(), _set_variables()
    for name in variables:
        del found[name]
    return found | _torch() | _jax() | _blas() | variables


def installed() -> dict[str, str]:
    """Return the part of `environment` that needs no import of a framework."""
    found = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(_cores()),
    }
    found |= {package: _version(package) for package in _PACKAGES}
    return found | _set_variables()


def _set_variables() -> dict[str, str]:
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def difference(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return the first thing in which two environments differ, and what it is in each."""
    for name in sorted(one.keys() | other.keys()):  # a variable may be set in one alone
        here, there = one.get(name, "none"), other.get(name, "none")
        if here != there:
            return name, here, there
    return None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Return the processor's model; `platform.processor()` is empty on most Linux systems."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Return how many cores this process may use; a container may allow fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _torch() -> dict[str, str]:
    try:
        import torch
    except ImportError:
        return {}
    from reference.oracles.torch_autograd import THREADS

    return {
        "torch threads": str(THREADS),
        "torch vector unit": torch.backends.cpu.get_cpu_capability(),
    }


def _jax() -> dict[str, str]:
    try:
        import jax
    except ImportError:
        return {}
    return {"jax backend": jax.default_backend(), "jax x64": "on, inside the oracle alone"}


def _blas() -> dict[str, str]:
    try:
        import threadpoolctl
    except ImportError:
        return {"BLAS": "unknown (threadpoolctl is not installed)"}
    found = {}
    for library in threadpoolctl.threadpool_info():
        parts = [library["internal_api"], library["version"], library.get("architecture")]
        name = f"{library['user_api']} {Path(library['filepath']).name}"
        found[name] = f"{' '.join(p for p in parts if p)}, {library['num_threads']} threads"
    return found
