"""App container images (appc spec 0.8.11): manifests, archives, and what can be read back from them."""
