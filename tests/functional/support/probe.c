/* The application of the functional tests: carries out the commands in its arguments, one after the other. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

static void die(const char *what)
{
	perror(what);
	exit(120);
}

/* One line of output, in brackets because the journal strips blanks; what is not printable ASCII appears as \xNN. */
static void print_escaped(const char *label, const char *text)
{
	printf("%s [", label);
	for (; *text; text++) {
		unsigned char c = *text;
		if (c == '\\')
			printf("\\\\");
		else if (c < 0x20 || c > 0x7e)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	printf("]\n");
}

static void on_term(int number)
{
	(void)number;
	static const char text[] = "caught SIGTERM\n";
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(121);
	_exit(0);
}

static void print_memory(void)
{
	char line[256];
	FILE *file = fopen("/proc/meminfo", "r");
	if (!file || !fgets(line, sizeof(line), file))
		die("/proc/meminfo");
	printf("%s", line);
	fclose(file);
}

static void print_file(const char *path)
{
	char line[4096];
	FILE *file = fopen(path, "r");
	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		print_escaped("line", line);
	}
	fclose(file);
}

static void print_groups(void)
{
	gid_t groups[64];
	int count = getgroups(64, groups);
	printf("groups");
	for (int i = 0; i < count; i++)
		printf(" %u", groups[i]);
	putchar('\n');
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fsync(fd) < 0 || close(fd) < 0)
		die(path);
}

/* Whether a file can be opened for writing; it is made where it is missing. */
static void try_writing(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);
	printf("try %s %s\n", path, fd < 0 ? strerror(errno) : "ok");
	if (fd >= 0)
		close(fd);
}

/* Type, permissions and owner. */
static void show_file(const char *path)
{
	struct stat status;
	if (lstat(path, &status) < 0) {
		printf("show %s %s\n", path, strerror(errno));
		return;
	}
	char type = S_ISDIR(status.st_mode) ? 'd' : S_ISLNK(status.st_mode) ? 'l' : S_ISCHR(status.st_mode) ? 'c' :
		    S_ISSOCK(status.st_mode) ? 's' : S_ISFIFO(status.st_mode) ? 'p' : '-';
	printf("show %s %c %04o %u %u\n", path, type, status.st_mode & 07777, status.st_uid, status.st_gid);
}

static void leave_namespace(void)
{
	printf("unshare %s\n", unshare(CLONE_NEWUTS) < 0 ? strerror(errno) : "ok");
}

/* Tells systemd that the service is ready (sd_notify(3)). */
static void notify_ready(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (!path || fd < 0)
		die("NOTIFY_SOCKET");
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(path);
	close(fd);
	printf("notified\n");
}

static void print_cwd(void)
{
	char path[4096];
	if (!getcwd(path, sizeof(path)))
		die("getcwd");
	printf("cwd %s\n", path);
}

static void print_machine(void)
{
	struct utsname names;

	if (uname(&names) == 0)
		printf("machine %s\n", names.machine);
}

static void print_cpus(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		die("sched_getaffinity");
	printf("cpus %d\n", CPU_COUNT(&set));
}

static void echo_input(void)
{
	char line[4096];
	if (!fgets(line, sizeof(line), stdin))
		die("standard input");
	line[strcspn(line, "\r\n")] = 0;
	print_escaped("read", line);
}

static void await_file(const char *path)
{
	while (access(path, F_OK) < 0)
		usleep(100000);
}

static int open_socket(const char *address, const char *port, struct sockaddr_in *name)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	name->sin_family = AF_INET;
	name->sin_port = htons(atoi(port));
	if (fd < 0 || inet_pton(AF_INET, address, &name->sin_addr) != 1)
		die(address);
	return fd;
}

/* Answers so many connections with the address that they come from. */
static void serve(const char *port, int count)
{
	struct sockaddr_in name = {0};
	int one = 1, fd = open_socket("0.0.0.0", port, &name);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, 8) < 0)
		die("listen");
	printf("serving\n");
	while (count-- > 0) {
		struct sockaddr_in peer = {0};
		socklen_t length = sizeof(peer);
		int connection = accept(fd, (struct sockaddr *)&peer, &length);
		if (connection < 0 || dprintf(connection, "peer %s", inet_ntoa(peer.sin_addr)) < 0 || close(connection) < 0)
			die("accept");
	}
	close(fd);
}

/* Answers so many connections and packets, on the sockets that came with the start (sd_listen_fds(3)), each with the
 * socket's number. */
static void serve_inherited(int count)
{
	struct pollfd sockets[16];
	const char *number = getenv("LISTEN_FDS"), *process = getenv("LISTEN_PID");
	int sum = number ? atoi(number) : 0;
	if (sum < 1 || sum > 16 || !process || atoi(process) != getpid()) {
		fprintf(stderr, "probe: no sockets\n");
		exit(124);
	}
	for (int i = 0; i < sum; i++)
		sockets[i] = (struct pollfd){ .fd = 3 + i, .events = POLLIN };
	printf("inherited %d\n", sum);
	while (count > 0) {
		if (poll(sockets, sum, -1) < 0)
			die("poll");
		for (int i = 0; i < sum; i++) {
			struct sockaddr_storage peer;
			socklen_t length = sizeof(peer);
			char text[16], packet[16];
			int listens = 0, connection = -1, size = snprintf(text, sizeof(text), "socket %d", i);
			if (!(sockets[i].revents & POLLIN))
				continue;
			if (getsockopt(3 + i, SOL_SOCKET, SO_ACCEPTCONN, &listens, &(socklen_t){ sizeof(listens) }) < 0)
				die("getsockopt");
			if (listens) {
				connection = accept(3 + i, NULL, NULL);
				if (connection < 0 || write(connection, text, size) < 0 || close(connection) < 0)
					die("accept");
			} else if (recvfrom(3 + i, packet, sizeof(packet), 0, (struct sockaddr *)&peer, &length) < 0 ||
				   sendto(3 + i, text, size, 0, (struct sockaddr *)&peer, length) < 0)
				die("recvfrom");
			count--;
		}
	}
}

static void print_answer(const char *address, const char *port)
{
	char text[256] = "";
	struct sockaddr_in name = {0};
	int fd = open_socket(address, port, &name);
	if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || read(fd, text, sizeof(text) - 1) < 0)
		die("connect");
	print_escaped("answer", text);
	close(fd);
}

/* Asks the metadata service (appc spec, App Container Metadata Service) and prints what it answers. */
static void fetch_metadata(const char *path)
{
	char host[64], port[8], text[8192];
	const char *url = getenv("AC_METADATA_URL"), *body;
	struct sockaddr_in name = {0};
	int fd, length = 0, sum = 0, count;
	if (!url || sscanf(url, "http://%63[^:]:%7[0-9]%n", host, port, &length) != 2)
		die("AC_METADATA_URL");
	fd = open_socket(host, port, &name);
	if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0 ||
	    dprintf(fd, "GET %s%s HTTP/1.0\r\nMetadata-Flavor: AppContainer\r\n\r\n", url + length, path) < 0)
		die("connect");
	while (sum < (int)sizeof(text) - 1 && (count = read(fd, text + sum, sizeof(text) - 1 - sum)) > 0)
		sum += count;
	text[sum] = 0;
	body = strstr(text, "\r\n\r\n");
	print_escaped("fetched", body ? body + 4 : text);
	close(fd);
}

static void say_result(const char *what, const char *path, int result)
{
	printf("%s %s %s\n", what, path, result < 0 ? strerror(errno) : "ok");
}

/* Cut a file by its descriptor, after another one has taken its name. */
static void cut_replaced(const char *path, const char *other)
{
	int fd = open(path, O_RDWR);
	if (fd < 0 || rename(other, path) < 0)
		die(path);
	say_result("cut", path, ftruncate(fd, 1));
	close(fd);
}

/* Serves on a socket with a name, and passes a byte through it. */
static void try_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0), connection;
	char byte = 0;
	if (server < 0 || client < 0)
		die("socket");
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (bind(server, (struct sockaddr *)&address, sizeof(address)) < 0) {
		say_result("bind", path, -1);
		return;
	}
	if (listen(server, 1) < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    (connection = accept(server, NULL, NULL)) < 0 || write(client, "x", 1) != 1 || read(connection, &byte, 1) != 1) {
		say_result("socket", path, -1);
		return;
	}
	say_result("socket", path, byte == 'x' ? 0 : -1);
}

/* Makes a FIFO, and passes a byte through it. */
static void try_fifo(const char *path)
{
	char byte = 0;
	int fd;
	if (mkfifo(path, 0622) < 0 || (fd = open(path, O_RDWR)) < 0 || write(fd, "x", 1) != 1 || read(fd, &byte, 1) != 1) {
		say_result("fifo", path, -1);
		return;
	}
	say_result("fifo", path, byte == 'x' ? 0 : -1);
}

/* Takes memory until that is the end of this process. */
static void fill_memory(void)
{
	for (;;) {
		char *block = malloc(1 << 20);
		if (!block)
			die("malloc");
		memset(block, 1, 1 << 20);
	}
}

/* Writes to a file until no more goes into it. */
static void fill_file(const char *path)
{
	static const char block[1 << 16] = "x";
	int fd = open(path, O_WRONLY | O_CREAT, 0644);
	long long written = 0;
	ssize_t count;
	if (fd < 0)
		die(path);
	while ((count = write(fd, block, sizeof(block))) > 0)
		written += count;
	printf("filled %lld %s\n", written, strerror(errno));
	close(fd);
}

/* Starts processes until that is refused. They wait for a signal, which systemd sends at the end of this one. */
static void fill_pids(void)
{
	int count = 0;
	pid_t child;
	while ((child = fork()) > 0)
		count++;
	if (child == 0)
		for (;;)
			pause();
	printf("forked %d %s\n", count, strerror(errno));
}

/* Turns the time stamps of packets on and off, which a kernel with jump labels does by changing its code, so many times,
 * while another process sends and receives packets. */
static void toggle_timestamps(int count)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(9) };
	int on = 1, receiver = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0);
	char byte = 0;
	pid_t child;
	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(receiver, (struct sockaddr *)&name, sizeof(name)) < 0 ||
	    connect(sender, (struct sockaddr *)&name, sizeof(name)) < 0)
		die("bind");
	child = fork();
	if (child == 0)
		for (;;)
			if (send(sender, &byte, 1, 0) < 0 || recv(receiver, &byte, 1, 0) < 0)
				die("send");
	for (int i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)) < 0)
			die("SO_TIMESTAMP");
		close(fd);
		usleep(1000);
	}
	kill(child, SIGKILL);
	printf("toggled %d\n", count);
}

/* Leaves the app for the guest's own mounts, and makes its root writable: what an app may do that may do everything. */
static void enter_system(void)
{
	int fd = open("/proc/1/ns/mnt", O_RDONLY);
	if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
		die("/proc/1/ns/mnt");
	close(fd);
	if (mount("", "/", NULL, MS_REMOUNT, "") < 0)
		die("remount");
}

static char *operand(char ***word)
{
	if (!**word) {
		fprintf(stderr, "probe: an operand is missing\n");
		exit(122);
	}
	return *(*word)++;
}

int main(int argc, char **argv)
{
	char **word = argv + 1;
	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (*word) {
		const char *command = *word++;
		if (!strcmp(command, "say"))
			printf("%s\n", operand(&word));
		else if (!strcmp(command, "ids"))
			printf("uid %u gid %u\n", getuid(), getgid());
		else if (!strcmp(command, "groups"))
			print_groups();
		else if (!strcmp(command, "cwd"))
			print_cwd();
		else if (!strcmp(command, "memory"))
			print_memory();
		else if (!strcmp(command, "cpus"))
			print_cpus();
		else if (!strcmp(command, "machine"))
			print_machine();
		else if (!strcmp(command, "cat"))
			print_file(operand(&word));
		else if (!strcmp(command, "try"))
			try_writing(operand(&word));
		else if (!strcmp(command, "show"))
			show_file(operand(&word));
		else if (!strcmp(command, "socket"))
			try_socket(operand(&word));
		else if (!strcmp(command, "fifo"))
			try_fifo(operand(&word));
		else if (!strcmp(command, "mode")) {
			const char *path = operand(&word);
			say_result("mode", path, chmod(path, strtol(operand(&word), NULL, 8)));
		} else if (!strcmp(command, "unshare"))
			leave_namespace();
		else if (!strcmp(command, "notify"))
			notify_ready();
		else if (!strcmp(command, "fill-memory"))
			fill_memory();
		else if (!strcmp(command, "fill-file"))
			fill_file(operand(&word));
		else if (!strcmp(command, "fill-pids"))
			fill_pids();
		else if (!strcmp(command, "timestamps"))
			toggle_timestamps(atoi(operand(&word)));
		else if (!strcmp(command, "system"))
			enter_system();
		else if (!strcmp(command, "link")) {
			const char *path = operand(&word);
			say_result("link", path, symlink(operand(&word), path));
		} else if (!strcmp(command, "rename")) {
			const char *path = operand(&word);
			say_result("rename", path, rename(path, operand(&word)));
		} else if (!strcmp(command, "cut")) {
			const char *path = operand(&word);
			cut_replaced(path, operand(&word));
		} else if (!strcmp(command, "unmount")) {
			const char *path = operand(&word);
			say_result("unmount", path, umount2(path, MNT_DETACH));
		} else if (!strcmp(command, "remove")) {
			const char *path = operand(&word);
			say_result("remove", path, remove(path));
		} else if (!strcmp(command, "node")) {
			const char *path = operand(&word);
			int major = atoi(operand(&word));
			say_result("node", path, mknod(path, S_IFBLK | 0666, makedev(major, atoi(operand(&word)))));
		} else if (!strcmp(command, "write")) {
			const char *path = operand(&word);
			write_file(path, operand(&word));
		} else if (!strcmp(command, "read"))
			echo_input();
		else if (!strcmp(command, "trap"))
			signal(SIGTERM, on_term);
		else if (!strcmp(command, "await"))
			await_file(operand(&word));
		else if (!strcmp(command, "serve")) {
			const char *port = operand(&word);
			serve(port, atoi(operand(&word)));
		} else if (!strcmp(command, "inherited"))
			serve_inherited(atoi(operand(&word)));
		else if (!strcmp(command, "connect")) {
			const char *address = operand(&word);
			print_answer(address, operand(&word));
		} else if (!strcmp(command, "fetch"))
			fetch_metadata(operand(&word));
		else if (!strcmp(command, "sleep"))
			sleep(atoi(operand(&word)));
		else if (!strcmp(command, "exit"))
			exit(atoi(operand(&word)));
		else if (!strcmp(command, "environment"))
			for (char **item = environ; *item; item++)
				print_escaped("env", *item);
		else if (!strcmp(command, "arguments"))
			while (*word)
				print_escaped("arg", *word++);
		else {
			fprintf(stderr, "probe: unknown command: %s\n", command);
			return 123;
		}
	}
	return 0;
}
