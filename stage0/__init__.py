"""The runner: trusts keys, fetches images, runs pods."""
