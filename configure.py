#!/usr/bin/env python3
"""Check this machine and write down what `make` builds. An old Python too can read this file, to say what it needs."""

# ruff: noqa: UP031, UP036 (the version check must not need what it checks for)

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "configure: error: Python 3.11 or newer is needed, and %s is %d.%d\n"
        "configure: hint: run it as `python3.11 configure.py`, or with another newer Python"
        % (sys.executable or "this one", sys.version_info[0], sys.version_info[1])
    )

from builder.configure.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
