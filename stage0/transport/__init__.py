"""HTTP: clients, authentication, downloads and their progress."""
