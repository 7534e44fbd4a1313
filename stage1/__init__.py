"""What a stage1 image runs on the pod's host: it turns a prepared pod directory into a virtual machine.

Standard library only, because the image carries its own interpreter and nothing else. The process works in the pod
directory; what the image contains is below `stage1/rootfs`, and the guest has that same tree as its root.
"""
