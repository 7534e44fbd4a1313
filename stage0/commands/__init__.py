"""The commands of `rkt`, one a module."""
