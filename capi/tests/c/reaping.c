/*
 * A reaped io_getevents makes no system call; whatever cannot be reaped makes one; and
 * LINUX_AIO_REAP=0, nothing that resembles it, turns reaping off, whatever the program does before
 * its first context. Method: a filter under which the calls that take events fail with an errno
 * that they do not have, and every other call but those of the test is trapped and counted. The
 * program starts itself with environments of all kinds, and then does with its environment what
 * programs do.
 *   reaping                     the calls, the environments, and what is done with them
 *   reaping on|off [DOING]...   as one of those that it starts: whether events are reaped
 * As root it also becomes another user, and is started with the set-group-ID bit; without root that
 * is left out.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* No call that takes events has this errno. */
#define REFUSED ENOTUNIQ

/* What the switch looks for. */
#define OFF "LINUX_AIO_REAP=0"

/* Nobody. */
#define STRANGER 65534

extern int io_queue_wait(io_context_t ctx, struct timespec *timeout);

static volatile sig_atomic_t trapped;
static struct timespec zero = { 0, 0 }, instant = { 0, 1 };
static struct iocb operations[8];
static struct io_event events[8];
static char byte;
static int zeroes, called;

static void on_trap(int number)
{
	(void)number;
	trapped++;
}

#define ANSWER(call, with) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, with)

static void filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ANSWER(SYS_io_getevents, SECCOMP_RET_ERRNO | REFUSED),
		ANSWER(SYS_io_pgetevents, SECCOMP_RET_ERRNO | REFUSED),
		ANSWER(SYS_io_submit, SECCOMP_RET_ALLOW),
		ANSWER(SYS_rt_sigreturn, SECCOMP_RET_ALLOW),
		ANSWER(SYS_write, SECCOMP_RET_ALLOW),
		ANSWER(SYS_exit_group, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_trap;
	CHECK(sigaction(SIGSYS, &action, NULL) == 0);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	syscall(SYS_getppid);
	CHECK(trapped == 1);
	trapped = 0;
}

static void callback(io_context_t ctx, struct iocb *iocb, long res, long res2)
{
	CHECK(ctx != NULL && iocb->u.c.buf == &byte && res == 1 && res2 == 0);
	called++;
}

/* So many events on the ring of the context, numbered from 100 on. */
static void complete(io_context_t ctx, int count)
{
	struct iocb *list[8];
	int i;

	for (i = 0; i < count; i++) {
		io_prep_pread(&operations[i], zeroes, &byte, 1, 0);
		operations[i].data = (void *)(uintptr_t)(100 + i);
		list[i] = &operations[i];
	}
	RETURNS(count, io_submit(ctx, count, list));
}

/* The call takes the events `first` and so on, without a system call. */
#define REAPS(count, first, call) \
	do { \
		int i_; \
		memset(events, 0, sizeof(events)); \
		RETURNS(count, call); \
		for (i_ = 0; i_ < (count); i_++) \
			CHECK(events[i_].data == (void *)(uintptr_t)(100 + (first) + i_) && \
				events[i_].obj == &operations[(first) + i_] && events[i_].res == 1 && events[i_].res2 == 0); \
		CHECK((count) == 8 || events[count].obj == NULL); \
	} while (0)

/* The call goes to the kernel, which takes nothing from the ring. */
#define ASKS(call) RETURNS(-REFUSED, call)

static void with_reaping(io_context_t ctx)
{
	int i;

	/* Any numbers that the ring can serve, with any timeout. */
	complete(ctx, 8);
	REAPS(1, 0, io_getevents(ctx, 1, 1, events, NULL));
	REAPS(2, 1, io_getevents(ctx, 1, 2, events, &zero));
	REAPS(1, 3, io_getevents(ctx, 0, 1, events, &instant));
	REAPS(2, 4, io_getevents(ctx, 2, 2, events, &instant));
	/* More than there are: of 2, 3 may be asked for, but not waited for. */
	ASKS(io_getevents(ctx, 3, 3, events, NULL));
	REAPS(2, 6, io_getevents(ctx, 2, 3, events, NULL));
	REAPS(0, 0, io_getevents(ctx, 0, 8, events, NULL));
	REAPS(0, 0, io_getevents(ctx, 0, 8, events, &instant));
	REAPS(0, 0, io_getevents(ctx, 1, 8, events, &zero));
	ASKS(io_getevents(ctx, 1, 8, events, NULL));
	ASKS(io_getevents(ctx, 1, 8, events, &instant));

	/*
	 * A signal mask, nowhere to put events, and nonsense are the kernel's affair; none of it loses
	 * events.
	 */
	complete(ctx, 8);
	ASKS(io_pgetevents(ctx, 1, 8, events, NULL, NULL));
	ASKS(io_pgetevents(ctx, 1, 8, events, &zero, NULL));
	ASKS(io_getevents(ctx, 1, 8, NULL, NULL));
	ASKS(io_getevents(ctx, 0, 0, events, NULL));
	ASKS(io_getevents(ctx, -1, 8, events, NULL));
	ASKS(io_getevents(ctx, 1, -1, events, NULL));
	ASKS(io_getevents(ctx, 2, 1, events, NULL));
	ASKS(io_getevents(ctx, 1l << 32, 1l << 33, events, NULL));
	ASKS(io_queue_wait(ctx, NULL));
	REAPS(1, 0, io_getevents(ctx, 1, 1, events, NULL));
	REAPS(7, 1, io_getevents(ctx, 1, (1l << 32) + 8, events, NULL));

	/* Around the ring, several times. */
	for (i = 0; i < 1000; i++) {
		complete(ctx, 7);
		REAPS(7, 0, io_getevents(ctx, 7, 8, events, NULL));
	}

	complete(ctx, 3);
	for (i = 0; i < 3; i++)
		io_set_callback(&operations[i], callback);
	RETURNS(3, io_submit(ctx, 3, (struct iocb *[]){ &operations[0], &operations[1], &operations[2] }));
	REAPS(3, 0, io_getevents(ctx, 3, 3, events, NULL));
	RETURNS(0, io_queue_run(ctx));
	CHECK(called == 3);
	CHECK(trapped == 0);
}

static void without_reaping(io_context_t ctx)
{
	complete(ctx, 8);
	ASKS(io_getevents(ctx, 1, 1, events, NULL));
	ASKS(io_getevents(ctx, 1, 8, events, &zero));
	ASKS(io_getevents(ctx, 0, 8, events, &instant));
	ASKS(io_pgetevents(ctx, 1, 8, events, NULL, NULL));
	ASKS(io_queue_run(ctx));
	CHECK(trapped == 0);
}

/* What a program may do before its first context. */
static void lose_environment(const char *how)
{
	extern char **environ;
	char root[] = "reaping.XXXXXX", **string;

	if (strcmp(how, "setenv") == 0) {
		CHECK(setenv("LINUX_AIO_REAP", getenv("LINUX_AIO_REAP") == NULL ? "0" : "1", 1) == 0);
	} else if (strcmp(how, "clearenv") == 0) {
		CHECK(clearenv() == 0);
	} else if (strcmp(how, "title") == 0) {
		for (string = environ; *string != NULL; string++)
			memset(*string, 0, strlen(*string));
	} else if (strcmp(how, "dumpable") == 0) {
		CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
	} else if (strcmp(how, "root") == 0) {
		if (geteuid() != 0 && unshare(CLONE_NEWUSER) != 0)
			exit(77);
		CHECK(mkdtemp(root) != NULL && chroot(root) == 0 && rmdir("/") != 0);
		CHECK(access("/proc/self/environ", F_OK) != 0);
		/* The directory above is still the working directory. */
		CHECK(rmdir(root) == 0);
	} else if (strcmp(how, "user") == 0) {
		if (geteuid() != 0)
			exit(77);
		CHECK(setgroups(0, NULL) == 0 && setgid(STRANGER) == 0 && setuid(STRANGER) == 0);
		CHECK(open("/proc/self/environ", O_RDONLY) < 0);
	} else {
		CHECK(strcmp(how, "secure") == 0 && getauxval(AT_SECURE) != 0);
	}
}

/* Whether events are reaped, in this process with its environment. */
static void look(int on, char **doing)
{
	io_context_t ctx = NULL, bare = NULL;

	zeroes = open("/dev/zero", O_RDONLY);
	CHECK(zeroes >= 0);
	for (; *doing != NULL; doing++)
		lose_environment(*doing);
	RETURNS(0, io_setup(8, &ctx));
	/* Where the library has not seen a context made, it leaves it to the kernel. */
	CHECK(syscall(SYS_io_setup, 8, &bare) == 0);
	filter();
	complete(bare, 8);
	ASKS(io_getevents(bare, 1, 8, events, NULL));
	if (on)
		with_reaping(ctx);
	else
		without_reaping(ctx);
	exit(0);
}

/*
 * This program in another process, which must find that reaping is on, or off, in that environment.
 */
static void start(int on, char **environment, const char *doing, const char *file)
{
	char *arguments[] = { "reaping", on ? "on" : "off", (char *)doing, NULL };
	pid_t child = fork();
	int status, i;

	CHECK(child >= 0);
	if (child == 0) {
		if (strcmp(file, "/proc/self/exe") != 0 && setuid(STRANGER) != 0)
			_exit(125);
		execve(file, arguments, environment);
		_exit(126);
	}
	CHECK(waitpid(child, &status, 0) == child);
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77))
		return;
	/* The dynamic linker's: the stranger may not read what the program needs. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && doing != NULL && strcmp(doing,
		"secure") == 0) {
		printf("no programs with privileges: they cannot read the library\n");
		return;
	}
	fprintf(stderr, "reaping was not %s after %s in this environment:\n", arguments[1],
		doing ? doing : "nothing");
	for (i = 0; environment[i] != NULL; i++)
		fprintf(stderr, "    %s\n", environment[i]);
	exit(1);
}

static void environments(void)
{
	static char *on[] = {
		"LINUX_AIO_REAP=1", "LINUX_AIO_REAP=", "LINUX_AIO_REAP", "LINUX_AIO_REAP=00", "LINUX_AIO_REAP=0 ",
		"LINUX_AIO_REAP=off", "LINUX_AIO_REAP= 0", "LINUX_AIO_REAPS=0", "LINUX_AIO_REA=0",
			"LINUX_AIO_REAP0",
		"XLINUX_AIO_REAP=0", "X=" OFF, " LINUX_AIO_REAP=0", "LINUX_AIO_REALINUX_AIO_REAP=0",
			"linux_aio_reap=0", "",
	};
	char *environment[4];
	size_t i;

	environment[0] = NULL;
	start(1, environment, NULL, "/proc/self/exe");
	for (i = 0; i < sizeof(on) / sizeof(on[0]); i++) {
		environment[0] = on[i];
		environment[1] = NULL;
		start(1, environment, NULL, "/proc/self/exe");
		/* The next string counts again. */
		environment[1] = OFF;
		environment[2] = NULL;
		start(0, environment, NULL, "/proc/self/exe");
	}
	environment[0] = OFF;
	environment[1] = "A=b";
	start(0, environment, NULL, "/proc/self/exe");
}

static void what_is_done_with_them(void)
{
	static const char *doings[] = { "setenv", "clearenv", "title", "dumpable", "root", "user" };
	char *off[] = { "A=b", OFF, "C=d", NULL }, *on[] = { "A=b", NULL };
	size_t i;

	for (i = 0; i < sizeof(doings) / sizeof(doings[0]); i++) {
		start(0, off, doings[i], "/proc/self/exe");
		start(1, on, doings[i], "/proc/self/exe");
	}
}

/* A copy of this program that runs with another group than that of who starts it. */
static void with_privileges(void)
{
	char name[] = "/var/tmp/reaping.XXXXXX", *off[] = { OFF, NULL }, *on[] = { "A=b", NULL };
	char buffer[1 << 16];
	int from, to;
	ssize_t count;

	struct statvfs mount;

	if (geteuid() != 0)
		return;
	from = open("/proc/self/exe", O_RDONLY);
	to = mkstemp(name);
	CHECK(from >= 0 && to >= 0 && fstatvfs(to, &mount) == 0);
	if (mount.f_flag & ST_NOSUID) {
		printf("no programs with privileges in /var/tmp\n");
		CHECK(unlink(name) == 0);
		return;
	}
	while ((count = read(from, buffer, sizeof(buffer))) > 0)
		CHECK(write(to, buffer, (size_t)count) == count);
	CHECK(count == 0 && fchown(to, 0, 1) == 0 && fchmod(to, 02755) == 0);
	close(from);
	close(to);
	start(0, off, "secure", name);
	start(1, on, "secure", name);
	CHECK(unlink(name) == 0);
}

int main(int argc, char **argv)
{
	io_context_t ctx = NULL;
	int result;

	if (argc > 1)
		look(strcmp(argv[1], "on") == 0, argv + 2);
	result = io_setup(1, &ctx);
	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	RETURNS(0, result);
	environments();
	what_is_done_with_them();
	with_privileges();
	return 0;
}
