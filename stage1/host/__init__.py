"""What the launcher asks of the host, by descriptors: paths, mounts, system calls, processes."""
