"""Sessions in a running pod, through one byte channel between host and guest: a second console of the VM.

On the host, the first session starts a broker, which holds the channel and shares it among all sessions (client,
broker, device). In the guest, the agent starts the programs (agent, process). No network is involved.
"""
