/*
 * A function of the program's with the name of one of the library's gets the library's own calls of
 * that name, as it does with the original: tools that wrap io_setup rely on it. Method: the program
 * has four such functions, which count and pass on, and calls the functions that stand on them.
 *   built with STATIC_LIBRARY: passes on to the kernel, since there is no next function
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

extern int io_queue_wait(io_context_t ctx, struct timespec *timeout);

static int setups, destroys, cancels, takes, called;

/* Calls the next function of that name. */
#ifdef STATIC_LIBRARY
#define PASS_ON(types, name, ...) \
	do { \
		long passed_ = syscall(SYS_##name, __VA_ARGS__); \
		int result_ = passed_ < 0 ? -errno : (int)passed_; \
		errno = UNTOUCHED; \
		return result_; \
	} while (0)
#else
#define PASS_ON(types, name, ...) \
	do { \
		int (*next_) types; \
		*(void **)&next_ = dlsym(RTLD_NEXT, #name); \
		CHECK(next_ != NULL); \
		return next_(__VA_ARGS__); \
	} while (0)
#endif

int io_setup(int maxevents, io_context_t *ctxp)
{
	setups++;
	PASS_ON((int, io_context_t *), io_setup, maxevents, ctxp);
}

int io_destroy(io_context_t ctx)
{
	destroys++;
	PASS_ON((io_context_t), io_destroy, ctx);
}

int io_cancel(io_context_t ctx, struct iocb *iocb, struct io_event *event)
{
	cancels++;
	PASS_ON((io_context_t, struct iocb *, struct io_event *), io_cancel, ctx, iocb, event);
}

int io_getevents(io_context_t ctx, long min, long nr, struct io_event *events,
	struct timespec *timeout)
{
	takes++;
	PASS_ON((io_context_t, long, long, struct io_event *, struct timespec *), io_getevents, ctx, min,
		nr, events, timeout);
}

static void callback(io_context_t ctx, struct iocb *iocb, long res, long res2)
{
	CHECK(ctx != NULL && iocb != NULL && res == 1 && res2 == 0);
	called++;
}

/* musl has no versions. */
#if !defined(STATIC_LIBRARY) && defined(__GLIBC__)
#define OLD_FUNCTIONS
#endif

#ifdef OLD_FUNCTIONS
/* The functions of LIBAIO_0.1 end in those of the same names of today. */
static void old_functions(io_context_t ctx)
{
	struct timespec zero = { 0, 0 };
	struct io_event event;
	struct iocb none = { 0 };
	int (*cancel)(io_context_t, struct iocb *);
	int (*take)(io_context_t, long, struct io_event *, const struct timespec *);
	int (*wait)(io_context_t, struct timespec *);

	*(void **)&cancel = dlvsym(RTLD_DEFAULT, "io_cancel", "LIBAIO_0.1");
	*(void **)&take = dlvsym(RTLD_DEFAULT, "io_getevents", "LIBAIO_0.1");
	*(void **)&wait = dlvsym(RTLD_DEFAULT, "io_queue_wait", "LIBAIO_0.1");
	CHECK(cancel != NULL && take != NULL && wait != NULL);
	RETURNS(-EINVAL, cancel(ctx, &none));
	CHECK(cancels == 1 && takes == 0);
	RETURNS(0, take(ctx, 1, &event, &zero));
	CHECK(takes == 1);
	RETURNS(0, wait(ctx, &zero));
	CHECK(takes == 2 && cancels == 1);
}
#endif

int main(void)
{
	struct timespec zero = { 0, 0 };
	struct iocb operation, *list = &operation;
	io_context_t ctx = NULL;
	char byte;
	int zeroes = open("/dev/zero", O_RDONLY), result = io_queue_init(8, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	CHECK(zeroes >= 0 && result == 0 && setups == 1);
	RETURNS(0, io_queue_wait(ctx, &zero));
	CHECK(takes == 1);
	takes = 0;

	/* As often as there is an event, and once more. */
	io_prep_pread(&operation, zeroes, &byte, 1, 0);
	io_set_callback(&operation, callback);
	RETURNS(1, io_submit(ctx, 1, &list));
	RETURNS(0, io_queue_run(ctx));
	CHECK(called == 1 && takes == 2);
	takes = 0;

#ifdef OLD_FUNCTIONS
	old_functions(ctx);
#endif
	RETURNS(0, io_queue_release(ctx));
	CHECK(setups == 1 && destroys == 1);
	return 0;
}
