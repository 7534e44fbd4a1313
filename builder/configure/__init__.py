"""From options to the record of a build. Standard library only: it runs before anything is installed."""
