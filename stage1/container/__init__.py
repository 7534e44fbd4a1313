"""Pods in a container of the host's kernel, which systemd-nspawn starts, in place of a virtual machine."""
