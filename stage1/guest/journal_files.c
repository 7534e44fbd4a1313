/*
 * Loaded into journald before its libraries: 9p has no attributes of files, as chattr shows them, which journald takes
 * for a file whose copying on write it cannot switch on again.
 *
 * It then replaces each file that is full by a copy of it, and may cut what it has open, the replaced one, after that.
 * A 9p server that cuts files by name, as qemu's does before 10.1, cuts the copy: it loses the size that is stored in
 * its header, and journalctl reads none of its lines. The copy is of no use either: nothing here copies on write.
 *
 * So a file without attributes passes for one that has none set.
 */

#include <errno.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...)
{
	va_list rest;
	void *argument;
	int result;

	va_start(rest, request);
	argument = va_arg(rest, void *);
	va_end(rest);
	result = syscall(SYS_ioctl, fd, request, argument);
	if (result < 0 && request == FS_IOC_GETFLAGS && (errno == ENOTTY || errno == EOPNOTSUPP)) {
		*(unsigned *)argument = 0;
		return 0;
	}
	return result;
}
