/*
 * Valgrind and MemorySanitizer call nothing uninitialized that an operation or the library has
 * written. Method: memory that nobody has initialized, for contexts, events, buffers and vectors,
 * and branches that depend on all that is written there. check.sh runs it under either tool.
 *   written          everything was written
 *   written refused  and arrays that io_submit refuses: valgrind 3.19 itself crashes on them
 *   written bad      a branch on the byte behind a read, for a tool to notice: else it would notice
 *                    nothing at all
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

#define BYTES 64

static int zeroes, called;

/* Memory with anything in it. */
static void *fresh(size_t length)
{
	void *memory = malloc(length);

	CHECK(memory != NULL);
	return memory;
}

static void all_zero(const char *buffer, int length)
{
	int i;

	for (i = 0; i < length; i++)
		CHECK(buffer[i] == 0);
}

/* One event, whose every member counts. */
static void take(io_context_t ctx, int with_mask, struct iocb *iocb, long res)
{
	struct io_event *events = fresh(4 * sizeof(*events));

	if (with_mask) {
		int result = io_pgetevents(ctx, 1, 4, events, NULL, NULL);

		/* As some valgrinds say. */
		if (result == -ENOSYS)
			result = io_getevents(ctx, 1, 4, events, NULL);
		CHECK(result == 1);
	} else {
		RETURNS(1, io_getevents(ctx, 1, 4, events, NULL));
	}
	CHECK(events[0].data == NULL && events[0].obj == iocb && (long)events[0].res == res &&
		events[0].res2 == 0);
	free(events);
}

/*
 * What is refused is not looked at: a count without an array, an array without an iocb, no count.
 */
static void refused(io_context_t ctx, struct iocb *iocb)
{
	struct iocb *operations[2] = { iocb, NULL };

	RETURNS(-EFAULT, io_submit(ctx, 1, NULL));
	RETURNS(1, io_submit(ctx, 2, operations));
	take(ctx, 0, iocb, 2 * BYTES);
	RETURNS(-EINVAL, io_submit(ctx, -1, operations));
}

static void callback(io_context_t ctx, struct iocb *iocb, long res, long res2)
{
	CHECK(ctx != NULL && iocb != NULL && res == BYTES && res2 == 0);
	all_zero(iocb->u.c.buf, BYTES);
	called++;
}

/*
 * Leaves its arguments' shadows uninitialized, for whoever is called next without a word about its
 * own.
 */
static void poison(long a, long b, long c, long d)
{
	(void)a, (void)b, (void)c, (void)d;
}

static void (*volatile poison_arguments)(long, long, long, long) = poison;

int main(int argc, char **argv)
{
	int bad = argc > 1 && strcmp(argv[1], "bad") == 0, i, result;
	io_context_t *ctx = fresh(sizeof(*ctx));
	struct iocb *iocb;
	struct iovec *vectors;
	char *buffer, *other;
	long *anything = fresh(4 * sizeof(*anything));

	result = io_queue_init(8, ctx);
	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	CHECK(result == 0 && *ctx != NULL);
	zeroes = open("/dev/zero", O_RDONLY);
	CHECK(zeroes >= 0);
	for (i = 0; i < 8; i++) {
		buffer = fresh(BYTES + 1);
		iocb = fresh(sizeof(*iocb));
		io_prep_pread(iocb, zeroes, buffer, BYTES, 0);
		RETURNS(1, io_submit(*ctx, 1, &iocb));
		take(*ctx, i % 4 == 3, iocb, BYTES);
		all_zero(buffer, BYTES);
		if (bad && buffer[BYTES] == 77)
			puts("a byte that nobody has written is 77");
		free(iocb);
		free(buffer);
	}

	buffer = fresh(BYTES);
	other = fresh(BYTES);
	vectors = fresh(2 * sizeof(*vectors));
	vectors[0].iov_base = buffer;
	vectors[1].iov_base = other;
	vectors[0].iov_len = vectors[1].iov_len = BYTES;
	iocb = fresh(sizeof(*iocb));
	io_prep_preadv(iocb, zeroes, vectors, 2, 0);
	RETURNS(1, io_submit(*ctx, 1, &iocb));
	take(*ctx, 0, iocb, 2 * BYTES);
	all_zero(buffer, BYTES);
	all_zero(other, BYTES);

	if (argc > 1 && strcmp(argv[1], "refused") == 0)
		refused(*ctx, iocb);

	io_prep_pread(iocb, zeroes, buffer, BYTES, 0);
	io_set_callback(iocb, callback);
	RETURNS(1, io_submit(*ctx, 1, &iocb));
	poison_arguments(anything[0], anything[1], anything[2], anything[3]);
	RETURNS(0, io_queue_run(*ctx));
	CHECK(called == 1);
	RETURNS(0, io_queue_release(*ctx));
	return 0;
}
