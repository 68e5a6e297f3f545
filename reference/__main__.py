"""`python -m reference` is `manual-backprop`."""

from reference.cli import main

main()
