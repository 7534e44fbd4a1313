"""What the toolchain and rkt share: errors, processes, files, OpenPGP, and reading images."""
