/*
 * What is no context of this process gives -EINVAL and never a fault, whatever lies at its address;
 * the empty ring of one that is answers without a system call. Method: false contexts in memory of
 * our own. The kernel refuses a min_nr above nr, so 0 for such a call proves that it was not asked.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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

/* An empty ring, by all that it shows. */
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

/* Every function answers -EINVAL for that context. */
static void is_none(void *context)
{
	io_context_t ctx = (io_context_t)context;

	RETURNS(-EINVAL, io_getevents(ctx, 1, 1, &event, &zero));
	RETURNS(-EINVAL, io_getevents(ctx, 1, 1, &event, &instant));
	RETURNS(-EINVAL, io_getevents(ctx, 1, 1, &event, &second));
	RETURNS(-EINVAL, io_getevents(ctx, 1, 1, &event, NULL));
	RETURNS(-EINVAL, io_pgetevents(ctx, 1, 1, &event, &zero, NULL));
	RETURNS(-EINVAL, io_pgetevents(ctx, 1, 1, &event, &second, NULL));
	RETURNS(-EINVAL, io_pgetevents(ctx, 1, 1, &event, NULL, NULL));
	RETURNS(-EINVAL, io_queue_wait(ctx, &zero));
	RETURNS(-EINVAL, io_queue_wait(ctx, NULL));
	RETURNS(-EINVAL, io_queue_run(ctx));
	RETURNS(-EINVAL, io_submit(ctx, 0, NULL));
	RETURNS(-EINVAL, io_destroy(ctx));
}

/*
 * As libaio has it: the empty ring answers before nonsense is noticed; and only if no time is
 * given.
 */
static void is_empty(io_context_t ctx)
{
	sigset_t mask;

	sigemptyset(&mask);
	RETURNS(0, io_getevents(ctx, 2, 1, &event, &zero));
	RETURNS(0, io_getevents(ctx, -1, -1, NULL, &zero));
	RETURNS(0, io_pgetevents(ctx, 2, 1, &event, &zero, NULL));
	RETURNS(0, io_pgetevents(ctx, 2, 1, &event, &zero, &mask));
	RETURNS(0, io_queue_wait(ctx, &zero));
	RETURNS(0, io_queue_run(ctx));
	RETURNS(-EINVAL, io_getevents(ctx, 2, 1, &event, NULL));
	RETURNS(-EINVAL, io_getevents(ctx, 2, 1, &event, &instant));
	RETURNS(-EINVAL, io_pgetevents(ctx, 2, 1, &event, &instant, NULL));
}

int main(void)
{
	static const uintptr_t wild[] = { 0, 1, 8, 4095, 4096, 4097, 0x10008, 0xdeadbeefu, ~(uintptr_t)0,
		~(uintptr_t)7,
		~(uintptr_t)4095 };
	uint32_t *ring = pages(65536, PROT_READ | PROT_WRITE);
	char *hidden = pages(65536, PROT_NONE);
	io_context_t ctx = NULL, other = NULL, bare = NULL;
	size_t i;
	int result = io_setup(8, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	RETURNS(0, result);
	fill(ring);
	for (i = 0; i < sizeof(wild) / sizeof(wild[0]); i++)
		is_none((void *)wild[i]);
	is_none(hidden);
	is_none(hidden + 8);
	is_none(ring);
	is_none(ring + 2);
	is_none((char *)ctx + 1);
	is_none((char *)ctx + 64);
	if (((uint32_t *)ctx)[MAGIC] != 0xa10a10a1)
		SKIP("this kernel shows no rings, as gVisor: there every call is one");
	is_empty(ctx);

	/* One context after the other, and several at a time. */
	for (i = 0; i < 4; i++) {
		RETURNS(0, io_queue_init(8, &other));
		is_empty(other);
		is_empty(ctx);
		RETURNS(0, io_destroy(other));
		is_none(other);
	}
	is_empty(ctx);

	/* Of a context that the library has not seen made, the kernel knows. */
	CHECK(syscall(SYS_io_setup, 8, &bare) == 0);
	RETURNS(0, io_getevents(bare, 1, 1, &event, &zero));
	RETURNS(-EINVAL, io_getevents(bare, 2, 1, &event, &zero));
	RETURNS(0, io_destroy(bare));
	RETURNS(0, io_destroy(ctx));
	is_none(ctx);
	return 0;
}
