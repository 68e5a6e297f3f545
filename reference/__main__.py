"""`python -m reference` is `manual-backprop`."""

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Python searches the working folder first, and a reports.py or json.py in it is not ours. So it is
# searched last, unless this package itself is run from there.
if not sys.flags.safe_path and os.path.abspath(sys.path[0]) != _ROOT:
    sys.path.append(sys.path.pop(0))

from reference.cli import main  # noqa: E402

main()
