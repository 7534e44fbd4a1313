/*
 * Hides from apps what in /proc and /sys could harm the kernel below them, or makes it read-only.
 *
 * It is settled here, once; as settings of each app's unit it took systemd half of all the work between its start and the
 * app's, because it reads the list of mounts several times for each path.
 */

/* Any empty directory: systemd will mount over it. */
#define PLACE "/run"
/* On the kernel's command line, which makes it a part of the environment, where a pod wants nothing hidden. */
#define UNPROTECTED "RKT_DISABLE_PATHS=1"
#define CORE_PATTERN "/proc/sys/kernel/core_pattern"
#define API_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* What would let an app reach the kernel below its other apps, or read the kernel's memory. Not all exist. */
static const char *const read_only[] = {
	"/proc/bus", CORE_PATTERN, "/proc/sys/kernel/modprobe", "/proc/sys/vm/panic_on_oom", "/proc/sysrq-trigger",
};
static const char *const hidden[] = {
	"/proc/config.gz", "/proc/kallsyms", "/proc/kcore",  "/proc/kmem",	"/proc/mem",
	"/proc/sched_debug", "/sys/firmware", "/sys/hypervisor", "/sys/module", "/sys/power",
};
/* Nobody may open them, as with systemd's InaccessiblePaths=. */
#define HIDDEN_FOLDER PLACE "/folder"
#define HIDDEN_FILE PLACE "/file"

/* A mount of what `source` is at `target`, which nothing can be changed through. */
static void cover(const char *source, const char *target)
{
	long result = mount(source, target, 0, MS_BIND, 0);

	if (result == -ENOTDIR && source != target)
		result = mount(HIDDEN_FILE, target, 0, MS_BIND, 0);
	if (result == -ENOENT)
		return;
	if (result < 0 || mount(0, target, 0, MS_REMOUNT | MS_BIND | MS_RDONLY | API_FLAGS, 0) < 0)
		fail("protect ", target);
}

/* To be called when /proc and /sys are mounted; what is mounted below PLACE is there again at its end. */
static void protect(void)
{
	if (mount("tmpfs", PLACE, "tmpfs", API_FLAGS, "mode=0755") < 0)
		fail("mount ", PLACE);
	if (call(__NR_mkdirat, AT_FDCWD, (long)HIDDEN_FOLDER, 0, 0, 0) < 0)
		fail("make ", HIDDEN_FOLDER);
	if (call(__NR_mknodat, AT_FDCWD, (long)HIDDEN_FILE, S_IFREG, 0, 0) < 0)
		fail("make ", HIDDEN_FILE);
	for (unsigned long i = 0; i < COUNT(read_only); i++)
		cover(read_only[i], read_only[i]);
	for (unsigned long i = 0; i < COUNT(hidden); i++)
		cover(HIDDEN_FOLDER, hidden[i]);
	if (call(__NR_umount2, (long)PLACE, DETACH, 0, 0, 0) < 0)
		fail("unmount ", PLACE);
}

static int equal(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

static int contains(char **texts, const char *text)
{
	for (; *texts; texts++)
		if (equal(*texts, text))
			return 1;
	return 0;
}
