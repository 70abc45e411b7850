/*
 * A context that cannot be one gives -EINVAL and never a fault; an empty ring is seen without a system call, and only
 * a ring that shows the kernel's magic number is believed.
 * Method: false contexts in memory of our own. The kernel answers -EINVAL for each of them, so 0 proves that it was
 * not asked.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#include "check.h"

extern int io_queue_wait(io_context_t ctx, struct timespec *timeout);

enum { ID, NR, HEAD, TAIL, MAGIC, COMPAT_FEATURES, INCOMPAT_FEATURES, HEADER_LENGTH };

static struct timespec zero = { 0, 0 }, instant = { 0, 1 }, second = { 1, 0 };
static struct io_event event;

static void *pages(size_t size, int protection)
{
	void *memory = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

static void fill(uint32_t *ring)
{
	ring[ID] = 0;
	ring[NR] = 128;
	ring[HEAD] = 5;
	ring[TAIL] = 5;
	ring[MAGIC] = 0xa10a10a1;
	ring[COMPAT_FEATURES] = 1;
	ring[INCOMPAT_FEATURES] = 0;
	ring[HEADER_LENGTH] = 32;
}

/* With a zero timeout each function that takes events answers `wanted` for that context. */
static void with_zero_timeout(int wanted, void *context)
{
	io_context_t ctx = (io_context_t)context;

	RETURNS(wanted, io_getevents(ctx, 1, 1, &event, &zero));
	RETURNS(wanted, io_pgetevents(ctx, 1, 1, &event, &zero, NULL));
	RETURNS(wanted, io_queue_wait(ctx, &zero));
	RETURNS(wanted, io_queue_run(ctx));
}

/* With any other timeout no function looks at the memory: the kernel says -EINVAL. */
static void with_other_timeouts(void *context)
{
	io_context_t ctx = (io_context_t)context;

	RETURNS(-EINVAL, io_getevents(ctx, 1, 1, &event, NULL));
	RETURNS(-EINVAL, io_getevents(ctx, 1, 1, &event, &instant));
	RETURNS(-EINVAL, io_getevents(ctx, 1, 1, &event, &second));
	RETURNS(-EINVAL, io_pgetevents(ctx, 1, 1, &event, NULL, NULL));
	RETURNS(-EINVAL, io_pgetevents(ctx, 1, 1, &event, &second, NULL));
	RETURNS(-EINVAL, io_queue_wait(ctx, NULL));
	RETURNS(-EINVAL, io_destroy(ctx));
	RETURNS(-EINVAL, io_submit(ctx, 0, NULL));
}

int main(void)
{
	static const uintptr_t wild[] = { 0, 1, 8, 4095, 4097, 0x10008, 0xdeadbeefu, ~(uintptr_t)0, ~(uintptr_t)7 };
	uint32_t *ring = pages(65536, PROT_READ | PROT_WRITE);
	char *hidden = pages(65536, PROT_NONE);
	size_t i;

	for (i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		with_zero_timeout(-EINVAL, (void *)wild[i]);
		with_other_timeouts((void *)wild[i]);
	}

	/* Not page-aligned, in memory that faults when touched. */
	with_zero_timeout(-EINVAL, hidden + 8);
	with_zero_timeout(-EINVAL, hidden + 2048);
	/* Page-aligned there: untouched as long as the timeout is not zero. */
	with_other_timeouts(hidden);

	/* Memory that is no ring: gVisor's rings look so. */
	with_zero_timeout(-EINVAL, ring);

	fill(ring);
	with_zero_timeout(0, ring);
	with_other_timeouts(ring);
	/* As libaio has it: the empty ring answers before nonsense is noticed. */
	RETURNS(0, io_getevents((io_context_t)ring, 2, 1, &event, &zero));
	RETURNS(0, io_getevents((io_context_t)ring, -1, -1, NULL, &zero));

	ring[TAIL] = 6;
	with_zero_timeout(-EINVAL, ring);
	fill(ring);
	ring[MAGIC] ^= 1;
	with_zero_timeout(-EINVAL, ring);
	fill(ring);
	ring[INCOMPAT_FEATURES] = 1;
	with_zero_timeout(-EINVAL, ring);
	ring[MAGIC] ^= 1;

	/* All of a ring but its alignment. */
	fill(ring + 2);
	with_zero_timeout(-EINVAL, ring + 2);
	fill(ring + 512);
	with_zero_timeout(-EINVAL, ring + 512);

	/* A ring that may be read and not written. */
	fill(ring);
	CHECK(mprotect(ring, 65536, PROT_READ) == 0);
	with_zero_timeout(0, ring);
	return 0;
}
