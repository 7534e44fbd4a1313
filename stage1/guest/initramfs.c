/*
 * The first program of a guest whose kernel has its drivers as modules. It loads them, does with the root what such a
 * kernel does by itself where it needs no modules, and becomes the program that the kernel's command line names.
 *
 * The root is therefore mounted with the parameters of the command line (root=, rootfstype=, rootflags=, ro), and comes
 * with devtmpfs on /dev. What the initramfs held is removed on the way, since it is memory.
 *
 * It is PID 1, and starts without open files: the console is a device whose driver is a module. Until that is there
 * messages go to the kernel's log.
 */

#include <linux/time_types.h>

#include "system.h"

/* Made by builder/components/kernel/initramfs.py: the modules' paths in the order of loading, a NUL after each. */
#define MODULES "/modules"
#define ROOT "/root"
#define CONSOLE "/dev/console"
#define KERNEL_LOG "/dev/kmsg"
#define CMDLINE "/proc/cmdline"

/* The console's driver learns of its ports from the host, in its own time. */
#define CONSOLE_TRIES 10000
#define CONSOLE_WAIT_NS 1000000

static long read_file(const char *path, char *buffer, long size)
{
	long file = call(__NR_openat, AT_FDCWD, (long)path, O_RDONLY, 0, 0);
	long length = 0;

	if (file < 0)
		fail("open ", path);
	/* Room stays for a NUL. */
	for (long got = 1; got > 0 && length < size - 1; length += got) {
		got = call(__NR_read, file, (long)(buffer + length), size - 1 - length, 0, 0);
		if (got < 0)
			fail("read ", path);
	}
	call(__NR_close, file, 0, 0, 0, 0);
	buffer[length] = 0;
	return length;
}

/* Standard input, output and error, in place of those that are there. */
static long use(const char *path, long flags)
{
	long file;

	for (long standard = 0; standard < 3; standard++)
		call(__NR_close, standard, 0, 0, 0, 0);
	file = call(__NR_openat, AT_FDCWD, (long)path, flags | O_NOCTTY, 0, 0);
	if (file == 0)
		for (long standard = 1; standard < 3; standard++)
			call(__NR_dup3, 0, standard, 0, 0, 0);
	return file;
}

static void open_console(void)
{
	const struct __kernel_timespec pause = { 0, CONSOLE_WAIT_NS };

	for (long i = 0; i < CONSOLE_TRIES; i++) {
		if (use(CONSOLE, O_RDWR) == 0)
			return;
		call(__NR_nanosleep, (long)&pause, 0, 0, 0, 0);
	}
	use(KERNEL_LOG, O_WRONLY);
	fail("open ", CONSOLE);
}

static void load_modules(void)
{
	static char paths[16384];
	long length = read_file(MODULES, paths, sizeof(paths));

	for (long start = 0, end = 0; end < length; end++) {
		const char *path = paths + start;
		long file, result;

		if (paths[end])
			continue;
		file = call(__NR_openat, AT_FDCWD, (long)path, O_RDONLY, 0, 0);
		result = call(__NR_finit_module, file, (long)"", 0, 0, 0);
		if (result < 0 && result != -EEXIST)
			fail("load module ", path);
		call(__NR_close, file, 0, 0, 0, 0);
		call(__NR_unlinkat, AT_FDCWD, (long)path, 0, 0, 0);
		start = end + 1;
	}
	call(__NR_unlinkat, AT_FDCWD, (long)MODULES, 0, 0, 0);
}

/* Splits the command line into its words, each with a NUL behind it. */
static void split(char *line)
{
	for (; *line; line++)
		if (*line == ' ' || *line == '\n')
			*line = 0;
}

/* The word after the equals sign, or the word itself where `name` has none; null where the line does not have it. */
static const char *parameter(const char *line, long length, const char *name)
{
	const char *found = 0;

	for (long start = 0; start < length;) {
		const char *word = line + start, *wanted = name;

		while (*word && *word == *wanted)
			word++, wanted++;
		/* As with the kernel, the last one counts. */
		if (!*wanted && (word[-1] == '=' || !*word))
			found = word;
		while (line[start])
			start++;
		start++;
	}
	return found;
}

static void mount_root(const char *line, long length)
{
	const char *root = parameter(line, length, "root="), *type = parameter(line, length, "rootfstype=");
	unsigned long flags = parameter(line, length, "ro") ? MS_RDONLY : 0;

	if (!root || !type)
		fail("find root= and rootfstype= in ", CMDLINE);
	if (mount(root, ROOT, type, flags, parameter(line, length, "rootflags=")) < 0)
		fail("mount the root ", root);
	if (mount("/dev", ROOT "/dev", 0, MS_MOVE, 0) < 0)
		fail("move /dev to ", ROOT);
	if (call(__NR_umount2, (long)"/proc", DETACH, 0, 0, 0) < 0)
		fail("unmount ", "/proc");
	if (call(__NR_chdir, (long)ROOT, 0, 0, 0, 0) < 0 || mount(".", "/", 0, MS_MOVE, 0) < 0 ||
	    call(__NR_chroot, (long)".", 0, 0, 0, 0) < 0 || call(__NR_chdir, (long)"/", 0, 0, 0, 0) < 0)
		fail("change to ", ROOT);
}

__attribute__((used, noreturn)) void begin(long *stack)
{
	static char line[4096];
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + stack[0] + 1;
	const char *init;
	long length;

	if (mount("devtmpfs", "/dev", "devtmpfs", 0, "mode=0755") < 0)
		fail("mount ", "/dev");
	use(KERNEL_LOG, O_WRONLY);
	if (mount("proc", "/proc", "proc", 0, 0) < 0)
		fail("mount ", "/proc");
	length = read_file(CMDLINE, line, sizeof(line));
	split(line);
	init = parameter(line, length, "init=");
	if (!init)
		fail("find init= in ", CMDLINE);
	load_modules();
	open_console();
	call(__NR_unlinkat, AT_FDCWD, (long)arguments[0], 0, 0, 0);
	mount_root(line, length);
	arguments[0] = (char *)init;
	call(__NR_execve, (long)init, (long)arguments, (long)environment, 0, 0);
	fail("execute ", init);
	__builtin_unreachable();
}
