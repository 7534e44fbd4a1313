"""Bills of materials of images, by the libraries of the two formats (requirements/sbom.txt)."""
