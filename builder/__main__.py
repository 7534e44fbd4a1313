"""`python -m builder` is `mkstage1`."""

from builder.cli import main

main()
