/*
 * A 32-bit program with a 64-bit time_t: the call that takes such a time may be refused by a
 * container's filter (EPERM) or unknown to an old kernel (ENOSYS); then the older calls do, and the
 * time is cut, not wrapped. Method: a filter of our own that answers for that one call.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#if __SIZEOF_LONG__ != 4
#error "for 32-bit targets with a 64-bit time_t"
#endif

static void refuse(unsigned number, unsigned with)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | with),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	errno = 0;
	CHECK(syscall((long)number, 0, 0, 0, 0, 0, 0) == -1 && errno == (int)with);
}

static void take_events(void)
{
	/* 2^32 seconds: wrapped to 32 bits it is no time at all. */
	struct timespec zero = { 0, 0 }, instant = { 0, 1000000 }, ages = { 4294967296ll, 0 };
	struct iocb operation, *list[1];
	struct io_event event;
	io_context_t ctx = NULL;
	sigset_t mask;
	char buffer[16];
	int zeroes = open("/dev/zero", O_RDONLY);

	sigemptyset(&mask);
	CHECK(sizeof(instant.tv_sec) == 8 && zeroes >= 0);
	RETURNS(0, io_setup(8, &ctx));
	RETURNS(0, io_getevents(ctx, 1, 1, &event, &zero));
	RETURNS(0, io_getevents(ctx, 1, 1, &event, &instant));
	RETURNS(0, io_pgetevents(ctx, 1, 1, &event, &instant, &mask));
	RETURNS(-EINVAL, io_getevents(ctx, 2, 1, &event, &instant));
	list[0] = &operation;
	io_prep_pread(&operation, zeroes, buffer, sizeof(buffer), 0);
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(1, io_getevents(ctx, 1, 1, &event, &ages));
	CHECK(event.res == sizeof(buffer));
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(1, io_pgetevents(ctx, 1, 1, &event, &ages, &mask));
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(1, io_getevents(ctx, 1, 1, &event, NULL));

	/* With nothing there it waits until the signal, instead of coming back at once. */
	alarm(1);
	RETURNS(-EINTR, io_getevents(ctx, 1, 1, &event, &ages));
	alarm(1);
	RETURNS(-EINTR, io_pgetevents(ctx, 1, 1, &event, &ages, &mask));
	RETURNS(0, io_destroy(ctx));
	close(zeroes);
}

static void wake(int number)
{
	(void)number;
}

int main(void)
{
	static const unsigned answers[] = { 0, EPERM, ENOSYS };
	io_context_t ctx = NULL;
	struct sigaction action;
	size_t i;
	int status, result = io_setup(1, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	memset(&action, 0, sizeof(action));
	action.sa_handler = wake;
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			if (answers[i] != 0)
				refuse(SYS_io_pgetevents_time64, answers[i]);
			take_events();
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	return 0;
}
