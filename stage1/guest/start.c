/*
 * The guest's first program: makes the places writable that a pod writes to, hides from apps what could harm the kernel
 * below them, and becomes systemd.
 *
 * The root, share "rootfs", is read-only and cached without any check, since nothing changes it while the pod runs:
 * that saves half of the round trips to the host until an app runs. Apps, journal and exit statuses come from the same
 * directory as share "pod", with the cache mode that loses nothing when the virtual machine is killed.
 *
 * Apps get the guest's own /proc and /sys. What they must not see or change there is settled here, once; as settings of
 * each app's unit it took systemd half of all the work between its start and the app's, because it reads the list of
 * mounts several times for each path.
 *
 * A child of it reads ahead what systemd and journald will read, while systemd is loaded: that takes as many round
 * trips, but nobody waits for them.
 *
 * It is PID 1.
 */

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/stat.h>

#include "system.h"

#include "protect.h"

#define SYSTEMD "/usr/lib/systemd/systemd"
#define SIGCHLD 17
/* As systemd sets it, which has no more access to it then. */
#define NO_CORES "|/bin/false"
/* Made by builder/components/userland/prefetch.py: absolute paths, a NUL after each. */
#define PREFETCH "/usr/lib/stage1/prefetch"
/* Of each file; most of a large library is never looked at. */
#define PREFETCH_BYTES (512L << 10)

static const struct {
	const char *source, *target, *type, *options;
	unsigned long flags;
} mounts[] = {
	/* Without devices: an app has those that are bound into its /dev, whatever nodes it makes or has in its image. */
	{ "pod", PLACE, "9p", "trans=virtio,version=9p2000.L,cache=mmap,msize=262144", MS_NODEV },
	{ PLACE "/opt/stage2", "/opt/stage2", 0, 0, MS_BIND },
	{ PLACE "/rkt", "/rkt", 0, 0, MS_BIND },
	{ PLACE "/var/log/journal", "/var/log/journal", 0, 0, MS_BIND },
	/* As systemd would, which finds them mounted. */
	{ "proc", "/proc", "proc", 0, API_FLAGS },
	{ "sysfs", "/sys", "sysfs", 0, API_FLAGS },
};

static void forbid_cores(void)
{
	long file = call(__NR_openat, AT_FDCWD, (long)CORE_PATTERN, O_WRONLY, 0, 0);

	if (file < 0)
		return;
	if (call(__NR_write, file, (long)NO_CORES, sizeof(NO_CORES) - 1, 0, 0) < 0)
		fail("write ", CORE_PATTERN);
	call(__NR_close, file, 0, 0, 0, 0);
}

/* A path that is not there is looked up nevertheless: the guest remembers that, too. */
static void prefetch(void)
{
	static char paths[16384];
	long list = call(__NR_openat, AT_FDCWD, (long)PREFETCH, O_RDONLY, 0, 0);
	long length = call(__NR_read, list, (long)paths, sizeof(paths), 0, 0);

	for (long start = 0, end = 0; end < length; end++) {
		long file;

		if (paths[end])
			continue;
		file = call(__NR_openat, AT_FDCWD, (long)(paths + start), O_RDONLY, 0, 0);
		if (file >= 0) {
			call(__NR_readahead, file, 0, PREFETCH_BYTES, 0, 0);
			call(__NR_close, file, 0, 0, 0, 0);
		}
		start = end + 1;
	}
}

/* `stack` is what the kernel hands to a program: the count of arguments, they, a null, the environment, a null. */
__attribute__((used, noreturn)) void begin(long *stack)
{
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + stack[0] + 1;

	for (unsigned long i = 0; i < COUNT(mounts); i++)
		if (mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].options) < 0)
			fail("mount ", mounts[i].target);
	/* The binds stay. */
	if (call(__NR_umount2, (long)PLACE, DETACH, 0, 0, 0) < 0)
		fail("unmount ", PLACE);
	forbid_cores();
	if (!contains(environment, UNPROTECTED))
		protect();
	/* Without this capability systemd does not look for modules, in forty round trips; the kernel has none. */
	if (call(__NR_prctl, PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0) < 0)
		fail("drop ", "CAP_SYS_MODULE");
	/* systemd collects the child. Where there is none, it merely reads everything by itself. */
	if (call(__NR_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
		prefetch();
		call(__NR_exit_group, 0, 0, 0, 0, 0);
	}
	arguments[0] = SYSTEMD;
	call(__NR_execve, (long)SYSTEMD, (long)arguments, (long)environment, 0, 0);
	fail("execute ", SYSTEMD);
	__builtin_unreachable();
}
