"""Reading images of apps and stage1s: names, manifests, archives (appc spec 0.8.11)."""
