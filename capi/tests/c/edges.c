/*
 * What io_getevents returns, and which events it gives and leaves, for all small numbers of events,
 * of min_nr and of nr, with each timeout that does not wait, all around the ring. Method: prints
 * it, a call a line, to be compared with what another library or another setting prints.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { MOST = 4 };

static struct iocb operations[MOST];
static struct io_event events[MOST + 2];
static uintptr_t number;
static char byte;

/* So many events on the ring. */
static void complete(io_context_t ctx, int file, int count)
{
	struct iocb *list[MOST];
	int i;

	for (i = 0; i < count; i++) {
		io_prep_pread(&operations[i], file, &byte, 1, 0);
		operations[i].data = (void *)++number;
		list[i] = &operations[i];
	}
	CHECK(count == 0 || io_submit(ctx, count, list) == count);
}

static void say(const char *timeout, int there, long min, long nr, int result)
{
	int i;

	printf("%d there, min %ld, nr %ld, %s: %d", there, min, nr, timeout, result);
	for (i = 0; i < MOST + 2; i++)
		printf(" %lu/%ld/%ld/%ld", (unsigned long)(uintptr_t)events[i].data,
			events[i].obj == NULL ? -1 : (long)(events[i].obj - operations), (long)events[i].res,
				(long)events[i].res2);
	printf("\n");
}

static void call(io_context_t ctx, int file, int there, long min, long nr, const char *name,
	struct timespec *timeout)
{
	struct timespec zero = { 0, 0 };
	int result;

	/* For nr events there is room; a larger number is more than there will be. */
	complete(ctx, file, there);
	memset(events, 0, sizeof(events));
	errno = UNTOUCHED;
	result = io_getevents(ctx, min, nr, events, timeout);
	CHECK(errno == UNTOUCHED);
	say(name, there, min, nr, result);
	memset(events, 0, sizeof(events));
	say("the rest", there, 0, MOST, io_getevents(ctx, 0, MOST, events, &zero));
}

int main(void)
{
	static const long numbers[] = { -1, 0, 1, 2, 3, 4, 5, 65535, 65536, 65537, 1l << 30 };
	static const size_t count = sizeof(numbers) / sizeof(numbers[0]);
	struct timespec zero = { 0, 0 }, instant = { 0, 1 };
	int file = open("/dev/zero", O_RDONLY), there, result;
	io_context_t ctx = NULL;
	size_t i, k;

	CHECK(file >= 0);
	result = io_setup(MOST, &ctx);
	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	CHECK(result == 0);
	for (there = 0; there <= MOST; there++)
		for (i = 0; i < count; i++)
			for (k = 0; k < count; k++) {
				long min = numbers[i], nr = numbers[k];

				call(ctx, file, there, min, nr, "zero", &zero);
				call(ctx, file, there, min, nr, "instant", &instant);
				/* Without a timeout only where that does not wait. */
				if (min <= there || min > nr)
					call(ctx, file, there, min, nr, "none", NULL);
			}
	printf("%lu events\n", (unsigned long)number);
	return 0;
}
