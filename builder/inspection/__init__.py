"""Reads finished images: what they hold, whether it is right, what changed. It knows nothing of how they were built."""
