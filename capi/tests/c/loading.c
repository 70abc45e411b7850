/*
 * A library that is loaded, used and unloaded leaves nothing behind; and one that is loaded heeds
 * the environment that the program has then. Method: a hundred rounds of dlopen, io_setup, dlclose,
 * with a context that outlives each of them, and the size of the address space before and after;
 * then a filter under which io_getevents fails unless it makes no system call.
 *   loading LIBRARY [no-reap]
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define ROUNDS 100

/* No call that takes events has this errno. */
#define REFUSED ENOTUNIQ

static struct {
	int (*setup)(int, io_context_t *);
	int (*destroy)(io_context_t);
	int (*submit)(io_context_t, long, struct iocb **);
	int (*getevents)(io_context_t, long, long, struct io_event *, struct timespec *);
} aio;

static void *load(const char *library)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);

	CHECK(handle != NULL);
	/* In C a function's address is no object's. */
	*(void **)&aio.setup = dlsym(handle, "io_setup");
	*(void **)&aio.destroy = dlsym(handle, "io_destroy");
	*(void **)&aio.submit = dlsym(handle, "io_submit");
	*(void **)&aio.getevents = dlsym(handle, "io_getevents");
	CHECK(aio.setup != NULL && aio.destroy != NULL && aio.submit != NULL && aio.getevents != NULL);
	return handle;
}

/* The pages of the address space, and the number of mappings. */
static void measure(long *pages, long *mappings)
{
	FILE *file = fopen("/proc/self/statm", "r");
	int byte;

	CHECK(file != NULL && fscanf(file, "%ld", pages) == 1 && fclose(file) == 0);
	file = fopen("/proc/self/maps", "r");
	CHECK(file != NULL);
	for (*mappings = 0; (byte = getc(file)) != EOF;)
		*mappings += byte == '\n';
	CHECK(fclose(file) == 0);
}

static void rounds(const char *library)
{
	io_context_t last = NULL, next;
	long before[2], after[2];
	void *handle;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		handle = load(library);
		next = NULL;
		RETURNS(0, aio.setup(8, &next));
		if (last != NULL)
			RETURNS(0, aio.destroy(last));
		last = next;
		CHECK(dlclose(handle) == 0 && dlopen(library, RTLD_NOW | RTLD_NOLOAD) == NULL);
		/* The first ones may make the C library's own memory grow. */
		if (i == 4)
			measure(&before[0], &before[1]);
	}
	measure(&after[0], &after[1]);
	if (after[0] >= before[0] + ROUNDS || after[1] >= before[1] + ROUNDS / 2) {
		fprintf(stderr, "%d rounds: %ld pages in %ld mappings became %ld in %ld\n", ROUNDS, before[0],
			before[1],
			after[0], after[1]);
		exit(1);
	}
	CHECK(syscall(SYS_io_destroy, last) == 0);
}

static void filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_getevents, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | REFUSED),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* Whether a library that a child loads now takes events without a system call. */
static int reaps(const char *library)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (child == 0) {
		io_context_t ctx = NULL;
		struct iocb operation, *list = &operation;
		struct io_event event;
		char byte;
		int zeroes = open("/dev/zero", O_RDONLY), result;

		CHECK(zeroes >= 0);
		load(library);
		RETURNS(0, aio.setup(1, &ctx));
		io_prep_pread(&operation, zeroes, &byte, 1, 0);
		RETURNS(1, aio.submit(ctx, 1, &list));
		filter();
		result = aio.getevents(ctx, 1, 1, &event, NULL);
		CHECK(result == 1 || result == -REFUSED);
		_exit(result == 1 ? 10 : 11);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	CHECK(WEXITSTATUS(status) == 10 || WEXITSTATUS(status) == 11);
	return WEXITSTATUS(status) == 10;
}

int main(int argc, char **argv)
{
	long probe = 0;

	CHECK(argc >= 2);
	if (syscall(SYS_io_setup, 1, &probe) != 0 && (errno == ENOSYS || errno == EPERM))
		SKIP("this kernel or container has no AIO");
	rounds(argv[1]);
	if (argc > 2)
		return 0;
	CHECK(unsetenv("LINUX_AIO_REAP") == 0 && reaps(argv[1]));
	CHECK(setenv("LINUX_AIO_REAP", "0", 1) == 0 && !reaps(argv[1]));
	CHECK(clearenv() == 0 && reaps(argv[1]));
	return 0;
}
