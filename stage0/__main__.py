"""`python -m stage0` is `rkt`."""

from stage0.cli import main

main()
