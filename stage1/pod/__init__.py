"""The pod as it is asked for: manifest, sizes, volumes, ports, streams; its lock and its process."""
