/*
 * Every function returns what libaio 0.3.113 returns, success and each error, and leaves errno
 * alone. Method: real operations on a temporary file and on pipes, and arguments that the kernel
 * refuses.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* Exported, but in no header. */
extern int io_queue_wait(io_context_t ctx, struct timespec *timeout);

static io_context_t open_context(int maxevents)
{
	io_context_t ctx = NULL;

	RETURNS(0, io_setup(maxevents, &ctx));
	CHECK(ctx != NULL);
	return ctx;
}

static int temporary_file(void)
{
	char name[] = "functions.XXXXXX";
	int fd = mkstemp(name);

	CHECK(fd >= 0);
	CHECK(unlink(name) == 0);
	return fd;
}

static long aio_max_nr(void)
{
	long value = 0;
	FILE *file = fopen("/proc/sys/fs/aio-max-nr", "r");

	if (file != NULL) {
		if (fscanf(file, "%ld", &value) != 1)
			value = 0;
		fclose(file);
	}
	return value;
}

static void setup_and_destroy(void)
{
	io_context_t ctx = NULL, second;

	RETURNS(-EINVAL, io_setup(0, &ctx));
	RETURNS(-EINVAL, io_setup(-1, &ctx));
	RETURNS(-EFAULT, io_setup(8, NULL));
	if (aio_max_nr() > 0 && aio_max_nr() < 4000000)
		RETURNS(-EAGAIN, io_setup(4000000, &ctx));
	CHECK(ctx == NULL);

	ctx = open_context(8);
	second = ctx;
	RETURNS(-EINVAL, io_setup(8, &second));
	CHECK(second == ctx);

	RETURNS(0, io_destroy(ctx));
	RETURNS(-EINVAL, io_destroy(ctx));
	RETURNS(-EINVAL, io_destroy(NULL));
}

static void queue_init_and_release(void)
{
	io_context_t ctx = (io_context_t)(uintptr_t)0x1234567;

	RETURNS(-EINVAL, io_queue_init(0, &ctx));
	RETURNS(-EINVAL, io_queue_init(-5, &ctx));
	RETURNS(-EINVAL, io_queue_init(0, NULL));
	CHECK(ctx == (io_context_t)(uintptr_t)0x1234567);

	/* What was there before does not matter, and is gone even if no context comes of it. */
	if (aio_max_nr() > 0 && aio_max_nr() < 4000000) {
		RETURNS(-EAGAIN, io_queue_init(4000000, &ctx));
		CHECK(ctx == NULL);
	}
	ctx = (io_context_t)(uintptr_t)0x1234567;
	RETURNS(0, io_queue_init(8, &ctx));
	CHECK(ctx != NULL);
	RETURNS(0, io_queue_wait(ctx, NULL));
	RETURNS(0, io_queue_release(ctx));
	RETURNS(-EINVAL, io_queue_release(ctx));
}

static void write_sync_and_read(void)
{
	static char out[8192], in[8192];
	struct iovec halves[2];
	struct iocb operations[2], *list[2];
	struct io_event events[2];
	struct timespec second = { 1, 0 };
	io_context_t ctx = open_context(8);
	int fd = temporary_file(), ready = eventfd(0, EFD_NONBLOCK);
	uint64_t count = 0;

	CHECK(ready >= 0);
	memset(out, 'x', sizeof(out));
	list[0] = &operations[0];
	list[1] = &operations[1];

	io_prep_pwrite(&operations[0], fd, out, 4096, 0);
	operations[0].data = (void *)(uintptr_t)11;
	halves[0].iov_base = out;
	halves[0].iov_len = 1000;
	halves[1].iov_base = out + 1000;
	halves[1].iov_len = 3096;
	io_prep_pwritev(&operations[1], fd, halves, 2, 4096);
	operations[1].data = (void *)(uintptr_t)22;
	io_set_eventfd(&operations[1], ready);
	RETURNS(2, io_submit(ctx, 2, list));
	RETURNS(2, io_getevents(ctx, 2, 2, events, NULL));
	CHECK(events[0].res == 4096 && events[1].res == 4096);
	CHECK(events[0].res2 == 0 && events[1].res2 == 0);
	CHECK((uintptr_t)events[0].data + (uintptr_t)events[1].data == 33);
	CHECK(events[0].obj == &operations[(uintptr_t)events[0].data == 11 ? 0 : 1]);
	CHECK(read(ready, &count, sizeof(count)) == sizeof(count) && count == 1);

	io_prep_fsync(&operations[0], fd);
	io_prep_fdsync(&operations[1], fd);
	RETURNS(2, io_submit(ctx, 2, list));
	RETURNS(2, io_pgetevents(ctx, 2, 2, events, NULL, NULL));
	CHECK(events[0].res == 0 && events[1].res == 0);

	RETURNS(1, io_fsync(ctx, &operations[0], NULL, fd));
	RETURNS(1, io_fdsync(ctx, &operations[1], NULL, fd));
	RETURNS(2, io_getevents(ctx, 2, 2, events, &second));

	io_prep_pread(&operations[0], fd, in, 4096, 0);
	halves[0].iov_base = in + 4096;
	halves[0].iov_len = 96;
	halves[1].iov_base = in + 4096 + 96;
	halves[1].iov_len = 4000;
	io_prep_preadv2(&operations[1], fd, halves, 2, 4096, 0);
	RETURNS(2, io_submit(ctx, 2, list));
	RETURNS(2, io_getevents(ctx, 2, 2, events, NULL));
	CHECK(memcmp(in, out, sizeof(in)) == 0);

	close(ready);
	close(fd);
	RETURNS(0, io_destroy(ctx));
}

static void refused_submissions(void)
{
	struct iocb good, bad, *list[3];
	struct io_event events[3];
	char byte = 'a';
	io_context_t ctx = open_context(8);
	int fd = temporary_file();

	io_prep_pwrite(&good, fd, &byte, 1, 0);
	io_prep_pread(&bad, -1, &byte, 1, 0);
	list[0] = &good;
	list[1] = &bad;
	list[2] = &good;
	RETURNS(1, io_submit(ctx, 3, list));
	RETURNS(-EBADF, io_submit(ctx, 2, list + 1));
	RETURNS(0, io_submit(ctx, 0, list));
	RETURNS(-EINVAL, io_submit(ctx, -1, list));
	RETURNS(-EFAULT, io_submit(ctx, 1, NULL));
	list[0] = NULL;
	RETURNS(-EFAULT, io_submit(ctx, 1, list));
	list[0] = &bad;
	bad.aio_lio_opcode = 77;
	bad.aio_fildes = fd;
	RETURNS(-EINVAL, io_submit(ctx, 1, list));
	RETURNS(-EINVAL, io_submit(NULL, 1, list));
	RETURNS(1, io_getevents(ctx, 1, 3, events, NULL));
	close(fd);
	RETURNS(0, io_destroy(ctx));
}

static void taking_events(void)
{
	struct io_event events[2];
	struct timespec zero = { 0, 0 }, instant = { 0, 1000000 };
	io_context_t ctx = open_context(8);

	/* Nothing there: at once with a zero timeout, after it with another. */
	RETURNS(0, io_getevents(ctx, 1, 2, events, &zero));
	RETURNS(0, io_pgetevents(ctx, 1, 2, events, &zero, NULL));
	RETURNS(0, io_getevents(ctx, 1, 2, events, &instant));
	RETURNS(0, io_pgetevents(ctx, 1, 2, events, &instant, NULL));
	RETURNS(0, io_getevents(ctx, 0, 2, events, NULL));
	RETURNS(0, io_getevents(ctx, 0, 0, NULL, NULL));
	RETURNS(0, io_queue_wait(ctx, NULL));
	RETURNS(0, io_queue_wait(ctx, &zero));
	RETURNS(0, io_queue_wait(ctx, &instant));
	RETURNS(0, io_queue_run(ctx));

	RETURNS(-EINVAL, io_getevents(ctx, 2, 1, events, &instant));
	RETURNS(-EINVAL, io_getevents(ctx, -1, 1, events, &instant));
	RETURNS(-EINVAL, io_pgetevents(ctx, 2, 1, events, &instant, NULL));
	RETURNS(-EFAULT, io_pgetevents(ctx, 1, 1, events, &instant, (sigset_t *)(uintptr_t)8));
	RETURNS(0, io_destroy(ctx));
}

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
	(void)number;
	signals++;
}

/* io_pgetevents swaps the mask in for the wait, and only for it. */
static void signal_masks(void)
{
	struct io_event event;
	struct timespec minute = { 60, 0 };
	struct sigaction action;
	sigset_t blocked, open_mask, now;
	io_context_t ctx = open_context(8);

	memset(&action, 0, sizeof(action));
	action.sa_handler = count_signal;
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	sigemptyset(&open_mask);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	CHECK(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(signals == 0);
	RETURNS(-EINTR, io_pgetevents(ctx, 1, 1, &event, &minute, &open_mask));
	CHECK(signals == 1);
	CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
	CHECK(sigismember(&now, SIGUSR1) == 1);
	RETURNS(0, io_destroy(ctx));
}

static void polls_and_cancel(void)
{
	struct iocb poll, other, *list[1];
	struct io_event event, unused;
	io_context_t ctx = open_context(8);
	int ends[2];

	CHECK(pipe(ends) == 0);
	list[0] = &poll;
	io_prep_poll(&poll, ends[0], POLLIN);
	RETURNS(1, io_submit(ctx, 1, list));
	CHECK(write(ends[1], "x", 1) == 1);
	RETURNS(1, io_getevents(ctx, 1, 1, &event, NULL));
	CHECK((event.res & POLLIN) != 0 && event.obj == &poll);

	CHECK(read(ends[0], &other, 1) == 1);
	RETURNS(1, io_poll(ctx, &poll, NULL, ends[0], POLLIN));
	memset(&unused, 0x55, sizeof(unused));
	RETURNS(-EINPROGRESS, io_cancel(ctx, &poll, &unused));
	CHECK(*(unsigned char *)&unused == 0x55);
	RETURNS(1, io_getevents(ctx, 1, 1, &event, NULL));
	CHECK(event.obj == &poll);
	RETURNS(-EINVAL, io_cancel(ctx, &poll, &unused));
	memset(&other, 0, sizeof(other));
	RETURNS(-EINVAL, io_cancel(ctx, &other, &unused));
	RETURNS(-EFAULT, io_cancel(ctx, NULL, &unused));
	RETURNS(-EINVAL, io_cancel(NULL, &poll, &unused));
	close(ends[0]);
	close(ends[1]);
	RETURNS(0, io_destroy(ctx));
}

/* The extra of this header: a priority that the kernel really looks at. */
static void priorities(void)
{
	struct iocb operation, *list[1];
	struct io_event event;
	char byte = 'a';
	io_context_t ctx = open_context(8);
	int fd = temporary_file();

	list[0] = &operation;
	io_prep_pwrite(&operation, fd, &byte, 1, 0);
	io_set_ioprio(&operation, 2 << 13 | 7);
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(1, io_getevents(ctx, 1, 1, &event, NULL));
	CHECK(event.res == 1);
	/* There is no class 7. */
	io_set_ioprio(&operation, 7 << 13);
	RETURNS(-EINVAL, io_submit(ctx, 1, list));
	/* Without the flag nobody looks. */
	operation.u.c.flags = 0;
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(1, io_getevents(ctx, 1, 1, &event, NULL));
	/* The flags of preadv2 are another field: a flag that no kernel has is refused there. */
	io_prep_pwrite(&operation, fd, &byte, 1, 0);
	operation.aio_rw_flags = 0x40000000;
	RETURNS(-EOPNOTSUPP, io_submit(ctx, 1, list));
	operation.aio_rw_flags = RWF_DSYNC;
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(1, io_getevents(ctx, 1, 1, &event, NULL));
	close(fd);
	RETURNS(0, io_destroy(ctx));
}

int main(void)
{
	io_context_t ctx = NULL;
	int result = io_setup(1, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	CHECK(result == 0);
	RETURNS(0, io_destroy(ctx));

	setup_and_destroy();
	queue_init_and_release();
	write_sync_and_read();
	refused_submissions();
	taking_events();
	signal_masks();
	polls_and_cancel();
	priorities();
	return 0;
}
