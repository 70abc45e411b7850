/*
 * In a child of fork the contexts of the parent do not exist: every call says -EINVAL, none touches
 * a ring, and the parent loses nothing. Method: children of this kernel, which may map the rings
 * there; and children that unmap them, as kernels from 7.2 on have it. One ring is empty, one has
 * events; the child asks with every timeout, also when it has contexts of its own, which may come
 * to lie where the parent's were.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { EVENTS = 4, OWN = 3 };

extern int io_queue_wait(io_context_t ctx, struct timespec *timeout);

static struct timespec zero = { 0, 0 }, instant = { 0, 1 };
static struct iocb operations[EVENTS];
static struct io_event events[EVENTS];
static char byte;
static int zeroes;

static void complete(io_context_t ctx)
{
	struct iocb *list[EVENTS];
	int i;

	for (i = 0; i < EVENTS; i++) {
		io_prep_pread(&operations[i], zeroes, &byte, 1, 0);
		list[i] = &operations[i];
	}
	RETURNS(EVENTS, io_submit(ctx, EVENTS, list));
}

static void take(io_context_t ctx)
{
	RETURNS(EVENTS, io_getevents(ctx, EVENTS, EVENTS, events, NULL));
	RETURNS(0, io_getevents(ctx, 1, 1, events, &zero));
	RETURNS(0, io_getevents(ctx, 0, 1, events, NULL));
}

static void is_none(io_context_t ctx)
{
	struct iocb *list[1] = { &operations[0] };

	RETURNS(-EINVAL, io_getevents(ctx, 1, EVENTS, events, &zero));
	RETURNS(-EINVAL, io_getevents(ctx, 0, EVENTS, events, &zero));
	RETURNS(-EINVAL, io_getevents(ctx, 1, EVENTS, events, &instant));
	RETURNS(-EINVAL, io_getevents(ctx, 1, EVENTS, events, NULL));
	RETURNS(-EINVAL, io_getevents(ctx, 0, EVENTS, events, NULL));
	RETURNS(-EINVAL, io_pgetevents(ctx, 1, EVENTS, events, &zero, NULL));
	RETURNS(-EINVAL, io_pgetevents(ctx, 1, EVENTS, events, NULL, NULL));
	RETURNS(-EINVAL, io_queue_wait(ctx, &zero));
	RETURNS(-EINVAL, io_queue_run(ctx));
	RETURNS(-EINVAL, io_submit(ctx, 1, list));
	RETURNS(-EINVAL, io_cancel(ctx, &operations[0], events));
	RETURNS(-EINVAL, io_destroy(ctx));
}

static void be_child(io_context_t *parents, int unmap)
{
	io_context_t own[OWN] = { NULL };
	int i, k;

	for (i = 0; unmap && i < 2; i++)
		/* The header and the first events. */
		CHECK(munmap(parents[i], (size_t)sysconf(_SC_PAGESIZE)) == 0);
	for (i = 0; i < 2; i++)
		is_none(parents[i]);
	for (k = 0; k < OWN; k++)
		RETURNS(0, io_setup(8, &own[k]));
	for (i = 0; i < 2; i++) {
		for (k = 0; k < OWN && own[k] != parents[i]; k++)
			;
		if (k == OWN)
			is_none(parents[i]);
	}
	for (k = 0; k < OWN; k++) {
		complete(own[k]);
		take(own[k]);
		RETURNS(0, io_destroy(own[k]));
	}
	_exit(0);
}

int main(void)
{
	io_context_t parents[2] = { NULL, NULL };
	int result = io_setup(8, &parents[0]), round, status;
	pid_t child;

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	RETURNS(0, result);
	RETURNS(0, io_setup(8, &parents[1]));
	zeroes = open("/dev/zero", O_RDONLY);
	CHECK(zeroes >= 0);
	for (round = 0; round < 4; round++) {
		complete(parents[1]);
		child = fork();
		CHECK(child >= 0);
		if (child == 0)
			be_child(parents, round % 2);
		CHECK(waitpid(child, &status, 0) == child);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fprintf(stderr, "a child%s ended with status %#x\n", round % 2 ? " without the rings" : "",
				status);
		CHECK(status == 0);
		take(parents[1]);
		RETURNS(0, io_getevents(parents[0], 1, 1, events, &zero));
	}
	return 0;
}
