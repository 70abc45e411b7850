/*
 * io_queue_run calls (callback in data)(ctx, iocb, res, res2) for each event that is there, and
 * holds nothing while it does: a callback may free its iocb, submit, run the queue, or destroy the
 * context. Method: operations that are finished before the queue is run; a /dev/zero read finishes
 * inside io_submit.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

static io_context_t ctx;
static int zeroes, calls, depth;
static char buffer[64];
static struct iocb *expected;

static struct iocb *read_of(size_t bytes, io_callback_t callback)
{
	struct iocb *operation = malloc(sizeof(*operation));

	CHECK(operation != NULL);
	io_prep_pread(operation, zeroes, buffer, bytes, 0);
	if (callback != NULL)
		io_set_callback(operation, callback);
	return operation;
}

static void submit(struct iocb *operation)
{
	RETURNS(1, io_submit(ctx, 1, &operation));
}

static void look(io_context_t context, struct iocb *operation, long res, long res2)
{
	CHECK(context == ctx && operation == expected);
	CHECK(res == 7 && res2 == 0);
	calls++;
	free(operation);
}

static void fail_to_read(io_context_t context, struct iocb *operation, long res, long res2)
{
	CHECK(context == ctx && res == -EFAULT && res2 == 0);
	calls++;
	free(operation);
}

/* Frees its iocb over and over, and lets malloc hand the same memory out again. */
static void submit_again(io_context_t context, struct iocb *operation, long res, long res2)
{
	CHECK(context == ctx && res2 == 0);
	calls++;
	memset(operation, 0xee, sizeof(*operation));
	free(operation);
	if (res > 1)
		submit(read_of((size_t)res - 1, submit_again));
}

static void run_again(io_context_t context, struct iocb *operation, long res, long res2)
{
	CHECK(context == ctx && res2 == 0 && res > 0);
	calls++;
	depth++;
	free(operation);
	RETURNS(0, io_queue_run(ctx));
	depth--;
}

static void take_the_next(io_context_t context, struct iocb *operation, long res, long res2)
{
	struct io_event event;

	CHECK(context == ctx && res == 3 && res2 == 0);
	calls++;
	free(operation);
	RETURNS(1, io_getevents(ctx, 1, 1, &event, NULL));
	CHECK(event.res == 4);
	free(event.obj);
}

static void destroy(io_context_t context, struct iocb *operation, long res, long res2)
{
	CHECK(context == ctx && res == 7 && res2 == 0);
	calls++;
	free(operation);
	RETURNS(0, io_destroy(ctx));
}

/* io_set_eventfd and the one-call forms carry a callback too. */
static void polled(io_context_t context, struct iocb *operation, long res, long res2)
{
	CHECK(context == ctx && operation == expected && (res & POLLIN) != 0 && res2 == 0);
	calls++;
}

static void synced(io_context_t context, struct iocb *operation, long res, long res2)
{
	CHECK(context == ctx && operation == expected && res == 0 && res2 == 0);
	calls++;
}

int main(void)
{
	struct iocb one;
	struct io_event event;
	char name[] = "queue_run.XXXXXX";
	int i, fd, result = io_queue_init(64, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	CHECK(result == 0);
	zeroes = open("/dev/zero", O_RDONLY);
	CHECK(zeroes >= 0);

	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 0);

	expected = read_of(7, look);
	submit(expected);
	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 1);
	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 1);

	/* A failed operation calls back with its negative errno. */
	calls = 0;
	expected = read_of(7, fail_to_read);
	expected->u.c.buf = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	submit(expected);
	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 1);

	/* One run reaches what its callbacks submit. */
	calls = 0;
	submit(read_of(50, submit_again));
	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 50);

	calls = 0;
	for (i = 0; i < 10; i++)
		submit(read_of(1, run_again));
	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 10 && depth == 0);

	/* The event that a callback takes is not seen again. */
	calls = 0;
	submit(read_of(3, take_the_next));
	submit(read_of(4, take_the_next));
	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 1);
	RETURNS(0, io_getevents(ctx, 0, 1, &event, NULL));

	/* No callback, no call; the event is taken all the same. */
	calls = 0;
	submit(expected = read_of(7, NULL));
	RETURNS(0, io_queue_run(ctx));
	RETURNS(0, io_getevents(ctx, 0, 1, &event, NULL));
	free(expected);

	calls = 0;
	expected = &one;
	{
		int ends[2];

		CHECK(pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
		RETURNS(1, io_poll(ctx, &one, polled, ends[0], POLLIN));
		RETURNS(0, io_queue_run(ctx));
		close(ends[0]);
		close(ends[1]);
	}
	CHECK(calls == 1);

	/* These may take a moment: run until they are there. */
	fd = mkstemp(name);
	CHECK(fd >= 0 && unlink(name) == 0);
	RETURNS(1, io_fsync(ctx, &one, synced, fd));
	while (calls < 2)
		RETURNS(0, io_queue_run(ctx));
	RETURNS(1, io_fdsync(ctx, &one, synced, fd));
	while (calls < 3)
		RETURNS(0, io_queue_run(ctx));
	close(fd);

	/*
	 * The callback ends the context: the kernel says so, and nothing faults, although events were
	 * left.
	 */
	calls = 0;
	for (i = 0; i < 3; i++)
		submit(read_of(7, destroy));
	RETURNS(-EINVAL, io_queue_run(ctx));
	CHECK(calls == 1);
	return 0;
}
