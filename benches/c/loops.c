// The loop that everything is measured by, in C: keeps `depth` operations in the kernel, takes
// `batch` that have ended, and submits as many again. By the system calls or by a library's
// functions, with and without reading the ring.
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// The head of the completion ring, as the kernel maps it.
struct ring {
	unsigned id, nr, head, tail, magic, compat_features, incompat_features, header_length;
	struct io_event events[];
};

struct iocb;

// As `Loop` in ways/c.rs.
struct loop {
	aio_context_t context;
	struct iocb *iocbs;    // depth of them
	struct iocb **pending; // room for batch
	struct io_event *events;
	void *const *buffers;
	const int *files;
	uint64_t file_count;
	const uint64_t *steps; // an offset, and what to do in the lowest two bits
	uint64_t step_mask;
	uint64_t next_step;
	uint64_t depth, batch, block;
	int64_t expected_read;
	uint64_t *starts; // room for depth
};

enum { READ, WRITE, SYNC };

typedef int submit_function(aio_context_t, long, struct iocb **);
typedef int getevents_function(aio_context_t, long, long, struct io_event *, struct timespec *);

#if defined(__x86_64__) && !defined(__ILP32__)
#define INLINE_CALL 1
#endif

static inline __attribute__((always_inline)) int submit_call(aio_context_t context, long count,
	struct iocb **iocbs)
{
#ifdef INLINE_CALL
	long result = SYS_io_submit;
	__asm__ volatile("syscall" : "+a"(result) : "D"(context), "S"(count), "d"(iocbs) : "rcx", "r11",
		"memory");
	return (int)result;
#else
	long result = syscall(SYS_io_submit, context, count, iocbs);
	return result < 0 ? -errno : (int)result;
#endif
}

static inline __attribute__((always_inline)) int getevents_call(aio_context_t context, long min,
	long count,
								 struct io_event *events, struct timespec *timeout)
{
#ifdef INLINE_CALL
	long result = SYS_io_getevents;
	register struct timespec *r8 __asm__("r8") = timeout;
	register struct io_event *r10 __asm__("r10") = events;
	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(context), "S"(min), "d"(count), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return (int)result;
#else
	long result = syscall(SYS_io_getevents, context, min, count, events, timeout);
	return result < 0 ? -errno : (int)result;
#endif
}

// Takes what is on the ring, and waits by system call for what is missing to `min`.
static inline __attribute__((always_inline)) int getevents_ring(aio_context_t context, long min,
	long count,
								struct io_event *events, struct timespec *timeout)
{
	struct ring *ring = (struct ring *)context;
	unsigned nr = ring->nr;
	unsigned head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
	unsigned tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	long taken = 0;
	while (taken < count && head != tail) {
		events[taken++] = ring->events[head++];
		if (head == nr)
			head = 0;
	}
	__atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
	if (__builtin_expect(taken < min, 0)) {
		int more = getevents_call(context, min - taken, count - taken, events + taken, timeout);
		// What has been taken must come out.
		return more < 0 && taken == 0 ? more : (int)(taken + (more < 0 ? 0 : more));
	}
	return (int)taken;
}

static inline uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// As io_prep_pread and its kin do.
static inline __attribute__((always_inline)) void fill(struct loop *loop, struct iocb *iocb)
{
	static const uint16_t opcodes[] = { IOCB_CMD_PREAD, IOCB_CMD_PWRITE, IOCB_CMD_FDSYNC };
	uint64_t slot = (uint64_t)(iocb - loop->iocbs);
	uint64_t number = loop->next_step++;
	uint64_t step = loop->steps[number & loop->step_mask];
	int file = loop->file_count == 1 ? loop->files[0] : loop->files[number % loop->file_count];
	memset(iocb, 0, sizeof *iocb);
	iocb->aio_data = slot;
	iocb->aio_fildes = (uint32_t)file;
	iocb->aio_lio_opcode = opcodes[step & 3];
	if (__builtin_expect((step & 3) != SYNC, 1)) {
		iocb->aio_buf = (uint64_t)(uintptr_t)loop->buffers[slot];
		iocb->aio_nbytes = loop->block;
		iocb->aio_offset = (int64_t)(step & ~(uint64_t)3);
	}
}

static inline __attribute__((always_inline)) int is_expected(const struct loop *loop,
	const struct iocb *iocb, int64_t result)
{
	if (__builtin_expect(iocb->aio_lio_opcode == IOCB_CMD_PREAD, 1))
		return result == loop->expected_read;
	return result == (int64_t)iocb->aio_nbytes;
}

// Submits what was not accepted at once: the last `count - gone` of what is pending.
static __attribute__((noinline, cold)) int submit_rest(struct loop *loop, submit_function *submit,
	uint64_t gone, uint64_t count)
{
	while (gone < count) {
		int accepted = submit(loop->context, (long)(count - gone), loop->pending + gone);
		if (accepted <= 0)
			return accepted ? accepted : -EAGAIN;
		gone += (uint64_t)accepted;
	}
	return 0;
}

// Submits what is pending, all of it.
static inline __attribute__((always_inline)) int submit_all(struct loop *loop,
	submit_function *submit, uint64_t count)
{
	int accepted = submit(loop->context, (long)count, loop->pending);
	if (__builtin_expect(accepted == (long)count, 1))
		return 0;
	return accepted < 0 ? accepted : submit_rest(loop, submit, (uint64_t)accepted, count);
}

// Runs `operations` of them, a multiple of the batch and not fewer than the depth. With
// `latencies`, room for one each, writes how many nanoseconds each took from its submission until
// it was taken. 0, or a negative error number.
static inline __attribute__((always_inline)) int run(struct loop *loop, uint64_t operations,
	uint64_t *latencies, int fills,
						     submit_function *submit, getevents_function *getevents)
{
	uint64_t batch = loop->batch, submitted = 0, ended = 0, timed = 0;
	while (ended < operations) {
		uint64_t count = 0;
		if (submitted < loop->depth) {
			for (; count < batch; count++) {
				struct iocb *iocb = &loop->iocbs[submitted + count];
				fill(loop, iocb);
				loop->pending[count] = iocb;
			}
		} else {
			long taken = getevents(loop->context, (long)batch, (long)batch, loop->events, NULL);
			while (__builtin_expect(taken != (long)batch, 0)) {
				// Interrupted: by a signal, or by the end of a ring of io_uring in this process.
				if (taken == -EINTR)
					taken = 0;
				if (taken < 0)
					return (int)taken;
				int more = getevents(loop->context, (long)batch - taken, (long)batch - taken,
						     loop->events + taken, NULL);
				if (more < 0 && more != -EINTR)
					return more;
				taken += more < 0 ? 0 : more;
			}
			uint64_t end = latencies ? now() : 0;
			ended += batch;
			for (; count < batch; count++) {
				struct iocb *iocb = (struct iocb *)(uintptr_t)loop->events[count].obj;
				if (__builtin_expect(!is_expected(loop, iocb, loop->events[count].res), 0))
					return loop->events[count].res < 0 ? (int)loop->events[count].res : -EIO;
				if (latencies)
					latencies[timed++] = end - loop->starts[iocb - loop->iocbs];
				if (fills)
					fill(loop, iocb);
				loop->pending[count] = iocb;
			}
			if (submitted == operations)
				continue;
		}
		if (latencies) {
			uint64_t start = now();
			for (uint64_t i = 0; i < batch; i++)
				loop->starts[loop->pending[i] - loop->iocbs] = start;
		}
		int result = submit_all(loop, submit, batch);
		if (result)
			return result;
		submitted += batch;
	}
	return 0;
}

int loop_by_call(struct loop *loop, uint64_t operations)
{
	return run(loop, operations, NULL, 1, submit_call, getevents_call);
}

int loop_by_call_timed(struct loop *loop, uint64_t operations, uint64_t *latencies)
{
	return run(loop, operations, latencies, 1, submit_call, getevents_call);
}

int loop_by_ring(struct loop *loop, uint64_t operations)
{
	return run(loop, operations, NULL, 1, submit_call, getevents_ring);
}

int loop_by_ring_timed(struct loop *loop, uint64_t operations, uint64_t *latencies)
{
	return run(loop, operations, latencies, 1, submit_call, getevents_ring);
}

// The iocbs are filled once and submitted as they are.
int loop_by_ring_prefilled(struct loop *loop, uint64_t operations)
{
	return run(loop, operations, NULL, 0, submit_call, getevents_ring);
}

int loop_by_library(struct loop *loop, uint64_t operations, submit_function *submit,
	getevents_function *getevents)
{
	return run(loop, operations, NULL, 1, submit, getevents);
}

int loop_by_library_timed(struct loop *loop, uint64_t operations, uint64_t *latencies,
	submit_function *submit,
			  getevents_function *getevents)
{
	return run(loop, operations, latencies, 1, submit, getevents);
}
