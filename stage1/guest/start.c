/*
 * The guest's first program: makes the places writable that a pod writes to, and becomes systemd.
 *
 * The root, share "rootfs", is read-only and cached without any check, since nothing changes it while the pod runs:
 * that saves half of the round trips to the host until an app runs. Apps, journal and exit statuses come from the same
 * directory as share "pod", with the cache mode that loses nothing when the virtual machine is killed.
 *
 * It is PID 1, has no C library, and needs none: five system calls, and a message where one fails. The kernel then
 * panics, which ends the virtual machine.
 */

#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/prctl.h>

#define SYSTEMD "/usr/lib/systemd/systemd"
/* Any empty directory: systemd will mount over it. */
#define PLACE "/run"
#define DETACH 2 /* MNT_DETACH of <sys/mount.h> */

static const struct {
	const char *source, *target, *type, *options;
	unsigned long flags;
} mounts[] = {
	/* Without devices: an app has those that are bound into its /dev, whatever nodes it makes or has in its image. */
	{ "pod", PLACE, "9p", "trans=virtio,version=9p2000.L,cache=mmap,msize=262144", MS_NODEV },
	{ PLACE "/opt/stage2", "/opt/stage2", 0, 0, MS_BIND },
	{ PLACE "/rkt", "/rkt", 0, 0, MS_BIND },
	{ PLACE "/var/log/journal", "/var/log/journal", 0, 0, MS_BIND },
};

#ifdef __x86_64__
__asm__(".globl _start\n"
	"_start:\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call begin\n");

static long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}
#else
#error "no system calls for this architecture"
#endif

static void write_text(const char *text)
{
	long length = 0;

	while (text[length])
		length++;
	call(__NR_write, 2, (long)text, length, 0, 0);
}

static void fail(const char *what, const char *name)
{
	write_text("stage1: cannot ");
	write_text(what);
	write_text(name);
	write_text("\n");
	for (;;)
		call(__NR_exit_group, 1, 0, 0, 0, 0);
}

/* `stack` is what the kernel hands to a program: the count of arguments, they, a null, the environment, a null. */
__attribute__((used, noreturn)) void begin(long *stack)
{
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + stack[0] + 1;

	for (unsigned long i = 0; i < sizeof(mounts) / sizeof(*mounts); i++)
		if (call(__NR_mount, (long)mounts[i].source, (long)mounts[i].target, (long)mounts[i].type,
			 (long)mounts[i].flags, (long)mounts[i].options) < 0)
			fail("mount ", mounts[i].target);
	/* The binds stay. */
	if (call(__NR_umount2, (long)PLACE, DETACH, 0, 0, 0) < 0)
		fail("unmount ", PLACE);
	/* Without this capability systemd does not look for modules, in forty round trips; the kernel has none. */
	if (call(__NR_prctl, PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0) < 0)
		fail("drop ", "CAP_SYS_MODULE");
	arguments[0] = SYSTEMD;
	call(__NR_execve, (long)SYSTEMD, (long)arguments, (long)environment, 0, 0);
	fail("execute ", SYSTEMD);
	__builtin_unreachable();
}
