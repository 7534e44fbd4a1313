"""Releases: everything that is published of one tag, built twice, signed, and verified before it takes its name."""
