/*
 * The first program of a container: has the kernel end the container with systemd-nspawn, however that ends, hides from
 * the apps what could harm the host's kernel, and becomes systemd.
 *
 * Without the first the apps would go on when systemd-nspawn is killed, and with them the pod. systemd-nspawn has waited
 * for its child right before it executed this, so that it was still there.
 *
 * It is PID 1.
 */

#include <linux/prctl.h>
#include <linux/stat.h>

#include "system.h"

#include "protect.h"

#define SYSTEMD "/usr/lib/systemd/systemd"
#define SIGKILL 9

__attribute__((used, noreturn)) void begin(long *stack)
{
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + stack[0] + 1;

	if (call(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		fail("follow ", "systemd-nspawn");
	if (!contains(environment, UNPROTECTED))
		protect();
	arguments[0] = SYSTEMD;
	call(__NR_execve, (long)SYSTEMD, (long)arguments, (long)environment, 0, 0);
	fail("execute ", SYSTEMD);
	__builtin_unreachable();
}
