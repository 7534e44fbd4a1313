"""Where images come from: discovery, downloads, trust, and the stage1 of a pod."""
