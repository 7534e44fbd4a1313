"""Sources from outside: downloaded, unpacked, checked out, patched."""
