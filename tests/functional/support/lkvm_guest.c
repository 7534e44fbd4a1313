/* A guest of lkvm's 9p device without a virtual machine. It is compiled with lkvm's own source and obeys lines of
 * standard input: the test writes the guest's memory, has the device look at its queue, and reads the memory. */
#include "virtio/9p.c"

#define MEMORY	(1 << 18)
#define QUEUE	128

static struct kvm machine;
static struct kvm_mem_bank bank;
static struct p9_dev device;

void *guest_flat_to_host(struct kvm *kvm, u64 offset)
{
	return offset < bank.size ? bank.host_addr + offset : NULL;
}

static unsigned int byte_at(const char *text)
{
	unsigned int value = 0;

	sscanf(text, "%2x", &value);
	return value;
}

/* As a driver does: the three parts of the queue behind each other, a page each. */
static void place_queue(unsigned long address)
{
	struct virt_queue *queue = &device.vqs[0];

	queue->vring_addr = (struct vring_addr){
		.desc_lo = address, .avail_lo = address + 0x1000, .used_lo = address + 0x2000,
	};
	virtio_init_device_vq(&machine, &device.vdev, queue, QUEUE);
}

static void obey(char *line)
{
	unsigned long address, size;
	u16 out, in;
	int text;

	if (sscanf(line, "write %lx %n", &address, &text) == 1)
		for (char *at = line + text; at[0] > ' ' && address < bank.size; at += 2)
			((unsigned char *)bank.host_addr)[address++] = byte_at(at);
	else if (sscanf(line, "read %lx %lx", &address, &size) == 2)
		while (size-- && address < bank.size)
			printf("%02x", ((unsigned char *)bank.host_addr)[address++]);
	else if (sscanf(line, "queue %lx", &address) == 1)
		place_queue(address);
	else if (!strcmp(line, "9p\n"))
		virtio_p9_do_io_request(&machine, &(struct p9_dev_job){ .vq = &device.vqs[0], .p9dev = &device });
	else if (!strcmp(line, "buffers\n")) {
		struct iovec *iov = calloc(QUEUE, sizeof(*iov));
		virt_queue__get_iov(&device.vqs[0], iov, &out, &in, &machine);
		printf("%u %u", out, in);
		free(iov);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	static char line[2 * MEMORY];

	setvbuf(stdout, NULL, _IOLBF, 0);
	/* Not one byte more: what is read or written beyond it is noticed. */
	bank = (struct kvm_mem_bank){ .host_addr = calloc(1, MEMORY), .size = MEMORY };
	INIT_LIST_HEAD(&machine.mem_banks);
	list_add(&bank.list, &machine.mem_banks);
	device.vdev.endian = VIRTIO_ENDIAN_LE;
	strncpy(device.root_dir, argv[argc - 1], sizeof(device.root_dir) - 1);
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	return 0;
}
