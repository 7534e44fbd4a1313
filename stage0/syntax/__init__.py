"""What people and manifests write: names, quantities, durations, arguments, pod manifests."""
