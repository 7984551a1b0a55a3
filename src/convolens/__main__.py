"""`python -m convolens`."""

from convolens.cli import main

main()
