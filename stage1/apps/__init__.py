"""The apps of a pod: their units, and what is put into their roots."""
