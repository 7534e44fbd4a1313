"""The commands of `mkstage1`: one file each."""
