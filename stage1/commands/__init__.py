"""The entry points: run, enter, attach, stop, gc."""
