"""The identity of what is built. Standard library only: configure.py imports it before anything is installed."""

VERSION = "1.31.0+git"
"""Version of the project and of the images that it makes; rkt itself ended at 1.30.0."""

DEFAULT_EPOCH = 1767225600
"""Timestamp of every file in an image (2026-01-01T00:00:00Z) where SOURCE_DATE_EPOCH names no other."""
