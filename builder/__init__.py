"""mkstage1: the toolchain that builds signed stage1 images."""
