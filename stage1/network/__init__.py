"""Networks of a pod: taps and rules on the host, addresses and routes in the guest.

The types of networks, their configuration files and `net-info.json` are those of rkt; addresses come from IPAM plugins
of CNI, the Container Network Interface. Only IPv4 is configured.
"""
