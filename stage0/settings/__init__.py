"""Configuration files, directories, and what was asked to be insecure."""
