"""The keystore, and signatures by the keys in it."""
