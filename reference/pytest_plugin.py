"""The pytest plugin by its earlier name, for `-p reference.pytest_plugin`."""

from manual_backprop_pytest import *  # noqa: F403
