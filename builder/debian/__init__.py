"""Packages of Debian: apt resolves and downloads them, dpkg and our own code unpack them."""
