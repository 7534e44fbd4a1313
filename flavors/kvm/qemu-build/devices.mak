# The devices that the launcher gives a pod (stage1/hypervisor/qemu.py, stage1/network/nic.py), and the machine.
CONFIG_I440FX=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_SERIAL=y
