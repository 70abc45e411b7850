/*
 * io_destroy ends a context under however many threads are in io_getevents: it returns 0 with
 * nothing in flight, each of them gets -EINVAL, and no event comes twice or after that. Method:
 * rounds in which threads take events of reads that go on, with all timeouts but a zero one, with
 * which the interface does not allow it. One waits for more events than ever come, until the end; a
 * POLL is in flight, which io_destroy cancels.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { ROUNDS = 40, TAKERS = 12, READS = 32, NEVER = READS + 8 };

#define GET(place) __atomic_load_n(&(place), __ATOMIC_SEQ_CST)
#define ADD(place, value) __atomic_add_fetch(&(place), value, __ATOMIC_SEQ_CST)

/* A read's state: how often it was submitted, and how often its event came. */
static struct read {
	struct iocb iocb;
	char byte;
	unsigned submitted, taken;
} reads[READS];

static io_context_t ctx;
static int zeroes, destroyed;
static unsigned ended, late;

static void submit(struct read *read)
{
	struct iocb *list = &read->iocb;

	ADD(read->submitted, 1);
	if (io_submit(ctx, 1, &list) != 1)
		ADD(read->submitted, -1u);
}

static void *take(void *argument)
{
	uintptr_t kind = (uintptr_t)argument;
	struct timespec instant = { 0, 1 }, moment = { 0, 200000 };
	struct timespec *timeout = kind % 3 == 0 ? NULL : kind % 3 == 1 ? &instant : &moment;
	struct io_event events[NEVER];
	int result, i;

	do {
		int before = GET(destroyed);

		result = io_getevents(ctx, kind == 0 ? NEVER : 1, kind == 0 ? NEVER : 1 + (long)kind, events,
			timeout);
		for (i = 0; i < result; i++) {
			struct read *read = events[i].data;

			if (before)
				ADD(late, 1);
			if (read == NULL)
				continue;
			CHECK(events[i].obj == &read->iocb && events[i].res == 1);
			ADD(read->taken, 1);
			submit(read);
		}
		CHECK(result >= 0 || result == -EINVAL || result == -EINTR);
	} while (result != -EINVAL);
	ADD(ended, 1);
	return NULL;
}

static void play(void)
{
	pthread_t takers[TAKERS];
	struct iocb polled, *list = &polled;
	struct timespec moment = { 0, 3000000 };
	int ends[2];
	uintptr_t i;

	memset(reads, 0, sizeof(reads));
	ctx = NULL;
	destroyed = 0;
	ended = 0;
	CHECK(pipe(ends) == 0);
	RETURNS(0, io_setup(2 * READS, &ctx));
	io_prep_poll(&polled, ends[0], POLLIN);
	RETURNS(1, io_submit(ctx, 1, &list));
	for (i = 0; i < TAKERS; i++)
		CHECK(pthread_create(&takers[i], NULL, take, (void *)i) == 0);
	for (i = 0; i < READS; i++) {
		io_prep_pread(&reads[i].iocb, zeroes, &reads[i].byte, 1, 0);
		reads[i].iocb.data = &reads[i];
		submit(&reads[i]);
	}
	nanosleep(&moment, NULL);
	CHECK(io_destroy(ctx) == 0);
	__atomic_store_n(&destroyed, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < TAKERS; i++)
		CHECK(pthread_join(takers[i], NULL) == 0);
	CHECK(ended == TAKERS && late == 0);
	for (i = 0; i < READS; i++)
		CHECK(reads[i].taken <= reads[i].submitted);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	int i, result = io_setup(1, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	RETURNS(0, result);
	RETURNS(0, io_destroy(ctx));
	zeroes = open("/dev/zero", O_RDONLY);
	CHECK(zeroes >= 0);
	for (i = 0; i < ROUNDS; i++)
		play();
	return 0;
}
