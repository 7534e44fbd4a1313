"""The programs that start the virtual machine of a pod."""
