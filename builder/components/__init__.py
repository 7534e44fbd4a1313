"""The steps that make one part of an image each: kernel, hypervisor, userland, launcher; and rkt."""
