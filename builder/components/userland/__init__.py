"""The files of the guest, and of the programs that start it, from Debian packages."""
