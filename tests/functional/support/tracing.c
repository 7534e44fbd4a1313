/* An application that traces its kernel: says which it is, whether it has BTF, and attaches a BPF program to a kprobe. */
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define TYPES "/sys/kernel/btf/vmlinux"
#define KPROBES "/sys/bus/event_source/devices/kprobe/type"

static int check(const char *what, int result)
{
	if (result < 0) {
		perror(what);
		exit(120);
	}
	return result;
}

static int load(void)
{
	/* r0 = 0; exit */
	static const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attributes = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.insns = (uintptr_t)program,
		.insn_cnt = sizeof(program) / sizeof(*program),
		.license = (uintptr_t)"GPL",
	};
	return check("bpf", syscall(__NR_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes)));
}

static int kprobe(const char *function)
{
	char type[16] = "";
	int file = check(KPROBES, open(KPROBES, O_RDONLY));
	check(KPROBES, read(file, type, sizeof(type) - 1));
	struct perf_event_attr attributes = {
		.type = atoi(type),
		.size = sizeof(attributes),
		.kprobe_func = (uintptr_t)function,
	};
	return check("perf_event_open", syscall(__NR_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
}

int main(void)
{
	struct utsname name;
	uint16_t magic;
	check("uname", uname(&name));
	printf("kernel %s\n", name.release);
	check(TYPES, read(check(TYPES, open(TYPES, O_RDONLY)), &magic, sizeof(magic)));
	printf("types %x\n", magic);
	fflush(stdout);
	int event = kprobe("do_nanosleep");
	check("PERF_EVENT_IOC_SET_BPF", ioctl(event, PERF_EVENT_IOC_SET_BPF, load()));
	check("PERF_EVENT_IOC_ENABLE", ioctl(event, PERF_EVENT_IOC_ENABLE, 0));
	usleep(1000);
	puts("attached");
	return 0;
}
