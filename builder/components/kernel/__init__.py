"""The guest kernel: option fragments, the source, the check of the result, and the compilation."""
