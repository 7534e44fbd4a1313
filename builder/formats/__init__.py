"""Bytes of others: ELF files, kernel images, archives of cpio."""
