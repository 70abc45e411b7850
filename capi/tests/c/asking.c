/*
 * Calls that enter the kernel's io_getevents and ask for nothing leave the events of others alone.
 * The kernel stores the ring's head in such a call, too, and could undo what a thread that takes
 * events without a system call has stored. Method: a thread that takes events of reads of /dev/zero
 * one by one while there are more, and a thread that asks in one of the ways in which the library
 * has the kernel asked: for no events, by io_queue_wait, under a signal mask, with a count that the
 * kernel refuses. Each event names a number that is never used again, and comes once.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { WAYS = 4, EVENTS = 64, TOTAL = 400000 };

extern int io_queue_wait(io_context_t ctx, struct timespec *timeout);

static io_context_t ctx;
static int zeroes, over;
static unsigned char seen[TOTAL + 1];

static void *ask(void *argument)
{
	uintptr_t way = (uintptr_t)argument;
	struct timespec instant = { 0, 1 };
	struct io_event event;

	while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
		if (way == 0)
			CHECK(io_getevents(ctx, 0, 0, NULL, &instant) == 0);
		else if (way == 1)
			CHECK(io_queue_wait(ctx, NULL) == 0);
		else if (way == 2)
			CHECK(io_pgetevents(ctx, 0, 0, NULL, NULL, NULL) <= 0);
		else
			CHECK(io_getevents(ctx, 2, 1, &event, NULL) == -EINVAL);
	}
	return NULL;
}

/* Takes what the ring has, but for some, so that there is always something to lose. */
static unsigned take(unsigned leave, unsigned there)
{
	struct timespec instant = { 0, 1 };
	struct io_event event;
	unsigned taken = 0;

	for (; there > leave; there--) {
		CHECK(io_getevents(ctx, 1, 1, &event, &instant) == 1);
		CHECK(seen[(uintptr_t)event.data] == 0);
		seen[(uintptr_t)event.data] = 1;
		taken++;
	}
	return taken;
}

static void beside(uintptr_t way)
{
	struct iocb operations[EVENTS], *list[EVENTS];
	struct io_event event;
	pthread_t asker;
	unsigned last, taken = 0;
	char byte;
	int i;

	memset(seen, 0, sizeof(seen));
	over = 0;
	CHECK(pthread_create(&asker, NULL, ask, (void *)way) == 0);
	for (last = 0; last + EVENTS <= TOTAL;) {
		for (i = 0; i < EVENTS; i++) {
			io_prep_pread(&operations[i], zeroes, &byte, 1, 0);
			operations[i].data = (void *)(uintptr_t)++last;
			list[i] = &operations[i];
		}
		CHECK(io_submit(ctx, EVENTS, list) == EVENTS);
		taken += take(EVENTS / 4, last - taken);
	}
	taken += take(0, last - taken);
	__atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
	CHECK(pthread_join(asker, NULL) == 0);
	CHECK(io_getevents(ctx, 0, 1, &event, NULL) == 0 && taken == last);
}

int main(void)
{
	uintptr_t way;
	int result = io_setup(2 * EVENTS, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	RETURNS(0, result);
	zeroes = open("/dev/zero", O_RDONLY);
	CHECK(zeroes >= 0);
	for (way = 0; way < WAYS; way++)
		beside(way);
	RETURNS(0, io_destroy(ctx));
	return 0;
}
