"""The life of a pod: its directory, its mounts, its stage1, its removal."""
