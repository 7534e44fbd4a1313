"""The last steps of a build: files rendered, the archive written, and its signature."""
