"""Hypothesis profiles: `dev` is fast, `ci` thorough, `nightly` long. All are replayable."""

import os

from hypothesis import HealthCheck, settings

_COMMON = {
    "deadline": None,  # the first call of an oracle compiles; a timed test would lie
    "print_blob": True,  # the failure message holds what replays it
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("dev", max_examples=20, derandomize=True, **_COMMON)
settings.register_profile("ci", max_examples=100, derandomize=True, **_COMMON)
settings.register_profile("nightly", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
