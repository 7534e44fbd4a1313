"""What runs a graph of steps: fingerprints, scheduler, store of outputs, console. It knows no step."""
