/*
 * Loaded into qemu before its libraries: lets its 9p server make sockets and FIFOs.
 *
 * When the server has made a file it sets its mode, for which it opens the file with O_PATH. The fix of CVE-2023-2861
 * refuses to open whatever is neither a regular file nor a directory, and refuses this too, although such a descriptor
 * reaches no more than the file's attributes. So the file that was just made is removed again, and bind() of a socket
 * with a name and mkfifo() fail in the guest by ENXIO. Later versions of qemu do without this.
 *
 * The refusal looks at fstat(). Here a descriptor of that kind, of a socket or a FIFO, passes for a regular file; one
 * that is open for reading or writing stays what it is and is refused. qemu asks in this way for nothing else.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>

int fstat64(int fd, struct stat64 *status)
{
	int result = fstatat64(fd, "", status, AT_EMPTY_PATH);

	if (result == 0 && (S_ISSOCK(status->st_mode) || S_ISFIFO(status->st_mode)) && fcntl(fd, F_GETFL) & O_PATH)
		status->st_mode = (status->st_mode & ~S_IFMT) | S_IFREG;
	return result;
}
