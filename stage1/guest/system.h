/*
 * What the guest's first programs are made of, which have no C library and need none: system calls, and a message where
 * one fails that matters. The kernel then panics, which ends the virtual machine.
 *
 * A program defines `begin`, which gets what the kernel hands to a program: the count of arguments, they, a null, the
 * environment, a null.
 */

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mount.h>

#define DETACH 2 /* MNT_DETACH of <sys/mount.h> */
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

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
#elif defined(__aarch64__)
__asm__(".globl _start\n"
	"_start:\n"
	"	mov x0, sp\n"
	"	bl begin\n");

static long call(long number, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}
#else
#error "no system calls for this architecture"
#endif

/* One write for the whole line: the kernel's log makes a line of each. */
static void fail(const char *what, const char *name)
{
	static char line[256];
	const char *const parts[] = { "stage1: cannot ", what, name, "\n" };
	unsigned long length = 0;

	for (unsigned long i = 0; i < COUNT(parts); i++)
		for (const char *part = parts[i]; *part && length < sizeof(line); part++)
			line[length++] = *part;
	call(__NR_write, 2, (long)line, length, 0, 0);
	for (;;)
		call(__NR_exit_group, 1, 0, 0, 0, 0);
}

static long mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options)
{
	return call(__NR_mount, (long)source, (long)target, (long)type, (long)flags, (long)options);
}
