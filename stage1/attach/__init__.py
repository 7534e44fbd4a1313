"""Attachable apps: those with streams of mode `stream` or `tty`, which `rkt attach` reaches while they run.

A service of the guest's own, one for each such app, holds the other ends of its streams. Whoever attaches connects to
the sockets of that service through a session of the channel.
"""
