"""What can be built, as data and rules. Standard library only: configure.py imports it before anything is installed."""
