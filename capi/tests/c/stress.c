/*
 * However many threads, signal handlers, jumps, cancellations, children and ends of contexts meet
 * in io_getevents, each event comes out once, with its own data. Method: rounds of half a second,
 * each in a process of its own, since jumps cost a process its way around the kernel. Threads
 * submit reads of /dev/zero, which are complete at once, and of a file with O_DIRECT, which are
 * not, and take events with random counts and timeouts. Each operation has a number that is never
 * used again; an event whose operation is not in flight under this number came twice, one still in
 * flight when all is quiet was lost. A call that was jumped out of, or cancelled, may have taken
 * events that nobody was told of, as with the kernel alone: those that lie in its memory are set
 * apart.
 *   stress SECONDS THREADS [SEED]
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum {
	THREADS = 16,
	CONTEXTS = 8,
	OPERATIONS = 48, /* of a context */
	BLOCK = 512,
	BLOCKS = 256,
	EVENTS = 16 /* of a call */
};

/* What a round does beside taking events. */
enum { HANDLERS = 1, JUMPS = 2, CANCELS = 4, DESTROYS = 8, FORKS = 16, ALL = 31 };

/* An operation is free, or in flight under its number, or being looked after. */
#define FREE ((uint64_t)0)
#define BUSY (~(uint64_t)0)

#define GET(place) __atomic_load_n(&(place), __ATOMIC_SEQ_CST)
#define SET(place, value) __atomic_store_n(&(place), value, __ATOMIC_SEQ_CST)
#define ADD(place, value) __atomic_fetch_add(&(place), value, __ATOMIC_SEQ_CST)

struct operation {
	struct iocb iocb;
	uint64_t number;
	int block; /* of the file; -1: of /dev/zero */
	unsigned char *buffer;
};

struct context {
	io_context_t handle; /* null while there is none */
	int dead; /* destroyed, and its operations not yet given back */
	struct operation operations[OPERATIONS];
};

struct worker {
	pthread_t thread;
	uint64_t random, handler_random;
	uint64_t calls; /* odd inside of one */
	int handler_depth;
	volatile sig_atomic_t jumpable, cancelled;
	sigjmp_buf jump;
	struct io_event events[EVENTS], handler_events[EVENTS];
};

/* Shared with the parent. */
static struct total {
	uint64_t events, lost, twice, wrong, set_apart, destroyed_with, crashed;
	uint64_t signals, jumps, cancels, destroys, forks, rounds;
} *total;

static struct context contexts[CONTEXTS];
static struct worker workers[THREADS];
static __thread struct worker *me;
static int thread_count, context_count, mode, stop;
static uint64_t last_number;
static int zeroes, file;
static uint64_t sums[BLOCKS];
/* Numbers of operations whose events lie in the memory of calls that never returned. */
static uint64_t apart[1 << 16];
static unsigned apart_count;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static unsigned below(uint64_t *state, unsigned limit)
{
	return (unsigned)((next_random(state) >> 20) % limit);
}

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t sum(const unsigned char *bytes)
{
	uint64_t value = 0xcbf29ce484222325u;
	int i;

	for (i = 0; i < BLOCK; i++)
		value = (value ^ bytes[i]) * 0x100000001b3u;
	return value;
}

static int is_zero(const unsigned char *bytes)
{
	int i;

	for (i = 0; i < BLOCK; i++)
		if (bytes[i] != 0)
			return 0;
	return 1;
}

/* The event's number names its operation: the place in the lower bits. */
static struct operation *operation_of(uint64_t number)
{
	unsigned place = (unsigned)(number % (CONTEXTS * OPERATIONS));

	return &contexts[place / OPERATIONS].operations[place % OPERATIONS];
}

static void account(const struct io_event *event)
{
	uint64_t number = (uint64_t)(uintptr_t)event->data;
	struct operation *operation = operation_of(number);
	uint64_t expected = number;

	if (number == FREE || !__atomic_compare_exchange_n(&operation->number, &expected, BUSY, 0,
		__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		ADD(total->twice, 1);
		return;
	}
	if (event->obj != &operation->iocb || (long)event->res != BLOCK || event->res2 != 0 ||
		(operation->block < 0 ? !is_zero(operation->buffer) : sum(operation->buffer) !=
			sums[operation->block]))
		ADD(total->wrong, 1);
	ADD(total->events, 1);
	SET(operation->number, FREE);
}

static void submit(struct context *context, uint64_t *random)
{
	struct iocb *list[8];
	struct operation *taken[8];
	int wanted = 1 + (int)below(random, 8), count = 0, result, tries;
	io_context_t handle = GET(context->handle);

	if (handle == NULL)
		return;
	for (tries = 0; tries < OPERATIONS && count < wanted; tries++) {
		unsigned place = below(random, OPERATIONS);
		struct operation *operation = &context->operations[place];
		uint64_t expected = FREE, number;

		if (!__atomic_compare_exchange_n(&operation->number, &expected, BUSY, 0, __ATOMIC_SEQ_CST,
			__ATOMIC_SEQ_CST))
			continue;
		operation->block = below(random, 4) == 0 ? (int)below(random, BLOCKS) : -1;
		memset(operation->buffer, 0xee, BLOCK);
		io_prep_pread(&operation->iocb, operation->block < 0 ? zeroes : file, operation->buffer, BLOCK,
			operation->block < 0 ? 0 : (long long)operation->block * BLOCK);
		number = (ADD(last_number, 1) + 1) * CONTEXTS * OPERATIONS +
			(uint64_t)(context - contexts) * OPERATIONS + place;
		operation->iocb.data = (void *)(uintptr_t)number;
		SET(operation->number, number);
		taken[count] = operation;
		list[count++] = &operation->iocb;
	}
	if (count == 0)
		return;
	result = io_submit(handle, count, list);
	if (result < 0)
		result = 0;
	for (; result < count; result++)
		SET(taken[result]->number, FREE);
}

/* Calls io_getevents at random, and accounts for what it gives. */
static int take(io_context_t handle, struct io_event *events, uint64_t *random, int may_wait)
{
	static const long instants[] = { 1, 1000, 20000, 500000 };
	struct timespec time = { 0, 0 }, *timeout = &time;
	long nr = 1 + (long)below(random, EVENTS), min = below(random, 3) == 0 ? (long)below(random,
		(unsigned)nr + 1) : 1;
	int result, i;

	if (mode & DESTROYS || below(random, 2) == 0)
		time.tv_nsec = instants[may_wait && below(random, 16) == 0 ? 2 + below(random, 2) : below(random,
			2)];
	/* A signal will end it, if nothing else does. */
	if (may_wait && mode & HANDLERS && below(random, 64) == 0)
		timeout = NULL;
	result = io_getevents(handle, min, nr, events, timeout);
	if (result > nr)
		ADD(total->wrong, 1);
	/* -EINVAL: destroyed meanwhile. */
	if (result < 0 && result != -EINTR && !(result == -EINVAL && mode & DESTROYS))
		ADD(total->wrong, 1);
	for (i = 0; i < result; i++)
		account(&events[i]);
	return result;
}

/* A call that never returned: its events are in memory, or are not. Its numbers are remembered. */
static void set_apart(struct io_event *events)
{
	int i;

	for (i = 0; i < EVENTS; i++) {
		uint64_t number = (uint64_t)(uintptr_t)events[i].data;

		if (number != FREE && GET(operation_of(number)->number) == number)
			apart[ADD(apart_count, 1) % (1 << 16)] = number;
	}
}

static int was_set_apart(uint64_t number)
{
	unsigned i;

	for (i = 0; i < apart_count && i < 1 << 16; i++)
		if (apart[i] == number)
			return 1;
	return 0;
}

/* A child has no contexts: it gets no events, and takes none away. */
static void fork_and_look(int in_handler)
{
	/*
	 * What a handler interrupts may be fork, whose locks of the C library a second fork would wait
	 * for.
	 */
	pid_t child = in_handler ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
	int status;

	if (child < 0)
		return;
	if (child == 0) {
		struct timespec instant = { 0, 1 }, zero = { 0, 0 };
		struct io_event events[EVENTS];
		int i;

		for (i = 0; i < context_count; i++) {
			io_context_t handle = GET(contexts[i].handle);

			if (handle == NULL)
				continue;
			if (io_getevents(handle, 1, EVENTS, events, &instant) != -EINVAL ||
				io_getevents(handle, 1, EVENTS, events, &zero) != -EINVAL || io_destroy(handle) != -EINVAL)
				_exit(1);
		}
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		;
	ADD(total->forks, 1);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		ADD(total->wrong, 1);
}

static void destroy(struct context *context)
{
	io_context_t handle = __atomic_exchange_n(&context->handle, NULL, __ATOMIC_SEQ_CST);

	if (handle == NULL)
		return;
	if (io_destroy(handle) != 0)
		ADD(total->wrong, 1);
	ADD(total->destroys, 1);
	SET(context->dead, 1);
}

/* Makes a context anew, once nobody is left in a call that the old one may have given events to. */
static void revive(struct context *context)
{
	uint64_t seen[THREADS];
	int expected = 1, i;
	io_context_t handle = NULL;

	if (!__atomic_compare_exchange_n(&context->dead, &expected, 2, 0, __ATOMIC_SEQ_CST,
		__ATOMIC_SEQ_CST))
		return;
	for (i = 0; i < thread_count; i++)
		seen[i] = GET(workers[i].calls);
	for (i = 0; i < thread_count; i++)
		while (&workers[i] != me && seen[i] % 2 == 1 && GET(workers[i].calls) == seen[i])
			sched_yield();
	for (i = 0; i < OPERATIONS; i++) {
		uint64_t number = GET(context->operations[i].number);

		if (number == FREE)
			continue;
		if (number == BUSY)
			ADD(total->wrong, 1);
		ADD(total->destroyed_with, 1);
		SET(context->operations[i].number, FREE);
	}
	while (io_setup(OPERATIONS, &handle) == -EAGAIN)
		sched_yield();
	SET(context->dead, 0);
	SET(context->handle, handle);
}

/*
 * Between these two a thread may be cancelled at every instruction. The type goes with the state:
 * glibc 2.36 ends a thread whose cancellation was turned off between pthread_cancel and its signal,
 * if only the type is asynchronous.
 */
static void allow_cancellation(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
}

static void end_cancellation(void)
{
	int before;

	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &before);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
}

/*
 * Interrupts anything, takes events itself, dawdles, and sometimes does not return to where it was
 * called.
 */
static void on_signal(int number)
{
	uint64_t *random;
	struct context *context;
	io_context_t handle;
	int errno_before = errno, depth, state, type;

	(void)number;
	if (me == NULL)
		return;
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	random = &me->handler_random;
	context = &contexts[below(random, (unsigned)context_count)];
	depth = ADD(me->handler_depth, 1);
	ADD(total->signals, 1);
	if (depth == 0) {
		int inside = GET(me->calls) % 2 == 1;

		if (!inside)
			ADD(me->calls, 1);
		handle = GET(context->handle);
		if (handle != NULL)
			take(handle, me->handler_events, random, 0);
		if (!inside)
			ADD(me->calls, 1);
		if (below(random, 8) == 0)
			usleep(below(random, 300));
		if (mode & FORKS && below(random, 1000) == 0)
			fork_and_look(1);
		/* It may be the very context whose events this thread was about to take. */
		if (mode & DESTROYS && below(random, 500) == 0)
			destroy(context);
	}
	ADD(me->handler_depth, -1);
	pthread_setcancelstate(state, &state);
	pthread_setcanceltype(type, &type);
	errno = errno_before;
	if (depth == 0 && mode & JUMPS && me->jumpable && below(random, 16) == 0) {
		me->jumpable = 0;
		siglongjmp(me->jump, 1);
	}
}

/*
 * One turn of a worker: everything that the accounting says of it happens between the two odd
 * steps.
 */
static void turn(void)
{
	struct context *context = &contexts[below(&me->random, (unsigned)context_count)];
	io_context_t handle;

	if (mode & DESTROYS && GET(context->dead) == 1)
		revive(context);
	if (mode & DESTROYS && below(&me->random, 20000) == 0)
		destroy(context);
	if (mode & FORKS && below(&me->random, 20000) == 0)
		fork_and_look(0);
	ADD(me->calls, 1);
	submit(context, &me->random);
	ADD(me->calls, 1);
	memset(me->events, 0, sizeof(me->events));
	ADD(me->calls, 1);
	handle = GET(context->handle);
	if (handle == NULL) {
		ADD(me->calls, 1);
		return;
	}
	if (mode & JUMPS) {
		if (sigsetjmp(me->jump, 1) == 0) {
			struct timespec instant = { 0, 20000 };
			long nr = 1 + (long)below(&me->random, EVENTS);
			int result, i;

			me->jumpable = 1;
			result = io_getevents(handle, below(&me->random, 4) == 0 ? nr : 1, nr, me->events, &instant);
			me->jumpable = 0;
			for (i = 0; i < result; i++)
				account(&me->events[i]);
		} else {
			ADD(total->jumps, 1);
			set_apart(me->events);
		}
	} else if (mode & CANCELS && below(&me->random, 100) == 0) {
		long nr = 1 + (long)below(&me->random, EVENTS);
		int result, i;

		me->cancelled = 1;
		allow_cancellation();
		result = io_getevents(handle, nr, nr, me->events, NULL);
		end_cancellation();
		me->cancelled = 0;
		for (i = 0; i < result; i++)
			account(&me->events[i]);
	} else {
		take(handle, me->events, &me->random, 1);
	}
	ADD(me->calls, 1);
}

static void *work(void *worker)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	me = worker;
	while (!GET(stop))
		turn();
	return NULL;
}

static void start(struct worker *worker)
{
	CHECK(pthread_create(&worker->thread, NULL, work, worker) == 0);
}

/* Ends a thread wherever it is inside of a call, and starts another in its place. */
static void cancel(struct worker *worker)
{
	if (!worker->cancelled)
		return;
	pthread_cancel(worker->thread);
	/* glibc does not always say PTHREAD_CANCELED, but before the end no thread ends in another way. */
	CHECK(pthread_join(worker->thread, NULL) == 0);
	ADD(total->cancels, 1);
	worker->cancelled = 0;
	set_apart(worker->events);
	worker->handler_depth = 0;
	if (GET(worker->calls) % 2 == 1)
		ADD(worker->calls, 1);
	start(worker);
}

/* Operations in flight, or those of them that no call that never returned may have taken. */
static int in_flight(int but_set_apart)
{
	int count = 0, i, k;

	for (i = 0; i < context_count; i++)
		for (k = 0; k < OPERATIONS; k++) {
			uint64_t number = GET(contexts[i].operations[k].number);

			count += number != FREE && !(but_set_apart && was_set_apart(number));
		}
	return count;
}

/* Half a second in a process of its own. */
static void play(uint64_t seed)
{
	struct timespec pause = { 0, 0 };
	struct sigaction action;
	struct io_event events[EVENTS];
	uint64_t end;
	sigset_t mask;
	int i, k, tries, result;

	context_count = 1 + (int)below(&seed, CONTEXTS);
	/* Every other round without what ends a context's reading for good. */
	mode = (int)below(&seed, ALL + 1);
	if (below(&seed, 2) == 0)
		mode &= ~(JUMPS | CANCELS);
	if (mode & JUMPS)
		mode = (mode | HANDLERS) & ~CANCELS;
	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	for (i = 0; i < context_count; i++)
		for (tries = 0; (result = io_setup(OPERATIONS, &contexts[i].handle)) != 0; tries++) {
			CHECK(result == -EAGAIN && tries < 1000);
			usleep(10000);
		}
	for (i = 0; i < thread_count; i++) {
		workers[i].random = next_random(&seed);
		workers[i].handler_random = next_random(&seed);
		start(&workers[i]);
	}
	for (end = milliseconds() + 500; milliseconds() < end;) {
		struct worker *worker = &workers[below(&seed, (unsigned)thread_count)];

		if (mode & HANDLERS)
			pthread_kill(worker->thread, SIGUSR1);
		if (mode & CANCELS && below(&seed, 20) == 0)
			cancel(worker);
		pause.tv_nsec = 1 + (long)below(&seed, 60000);
		nanosleep(&pause, NULL);
	}
	SET(stop, 1);
	for (i = 0; i < thread_count; i++)
		while (pthread_tryjoin_np(workers[i].thread, NULL) == EBUSY) {
			pthread_kill(workers[i].thread, SIGUSR1);
			usleep(200);
		}
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	me = &workers[0];
	for (i = 0; i < thread_count; i++)
		workers[i].calls = 0;
	for (i = 0; i < context_count; i++)
		revive(&contexts[i]);
	/* Disks may be slow. */
	end = milliseconds();
	while ((in_flight(0) > 0 && milliseconds() - end < 200) || (in_flight(1) > 0 &&
		milliseconds() - end < 30000)) {
		for (i = 0; i < context_count; i++) {
			int count;

			pause.tv_nsec = 1000000;
			count = io_getevents(contexts[i].handle, 1, EVENTS, events, &pause);
			for (k = 0; k < count; k++)
				account(&events[k]);
		}
	}
	for (i = 0; i < context_count; i++) {
		for (k = 0; k < OPERATIONS; k++) {
			uint64_t number = contexts[i].operations[k].number;

			if (number == FREE)
				continue;
			if (was_set_apart(number))
				ADD(total->set_apart, 1);
			else {
				ADD(total->lost, 1);
				printf("lost, %s: %d contexts, mode %d, read of %s\n",
					number == BUSY ? "by whom looked after it" : "in flight", context_count, mode,
					contexts[i].operations[k].block < 0 ? "/dev/zero" : "the file");
				fflush(stdout);
			}
		}
		CHECK(io_getevents(contexts[i].handle, 1, 1, events, &pause) == 0);
		CHECK(io_destroy(contexts[i].handle) == 0);
	}
	_exit(0);
}

/* Waits for a round to end. One that does not says where its threads are, and is killed. */
static int status_of(pid_t round)
{
	uint64_t begin = milliseconds();
	char command[200];
	int status;

	while (waitpid(round, &status, WNOHANG) == 0) {
		if (milliseconds() - begin > 100000) {
			snprintf(command, sizeof(command), "grep . /proc/%d/task/*/syscall /proc/%d/task/*/wchan",
				(int)round, (int)round);
			if (system(command) != 0)
				printf("and nobody knows where it is\n");
			kill(round, SIGKILL);
		}
		usleep(2000);
	}
	return status;
}

/* A file of blocks that are all different. */
static void make_file(void)
{
	char name[] = "stress.XXXXXX";
	unsigned char *block;
	int i, k, made = mkstemp(name);

	CHECK(made >= 0 && posix_memalign((void **)&block, 4096, BLOCK) == 0);
	for (i = 0; i < BLOCKS; i++) {
		for (k = 0; k < BLOCK; k++)
			block[k] = (unsigned char)(i + k * 31 + (k * k) / 7 + i * k);
		sums[i] = sum(block);
		CHECK(pwrite(made, block, BLOCK, (off_t)i * BLOCK) == BLOCK);
	}
	CHECK(fsync(made) == 0);
	file = open(name, O_RDONLY | O_DIRECT);
	if (file < 0)
		file = open(name, O_RDONLY);
	CHECK(file >= 0 && unlink(name) == 0);
	/* Where O_DIRECT wants larger blocks, reads go through the cache. */
	if (pread(file, block, BLOCK, BLOCK) != BLOCK)
		CHECK(fcntl(file, F_SETFL, 0) == 0);
	close(made);
	free(block);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15u;
	unsigned char *buffers;
	time_t end;
	int i, status;

	CHECK(argc >= 3);
	thread_count = atoi(argv[2]);
	CHECK(thread_count >= 1 && thread_count <= THREADS);
	total = mmap(NULL, sizeof(*total), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(total != MAP_FAILED);
	CHECK((zeroes = open("/dev/zero", O_RDONLY)) >= 0);
	CHECK(posix_memalign((void **)&buffers, 4096, (size_t)CONTEXTS * OPERATIONS * BLOCK) == 0);
	for (i = 0; i < CONTEXTS * OPERATIONS; i++)
		contexts[i / OPERATIONS].operations[i % OPERATIONS].buffer = buffers + (size_t)i * BLOCK;
	make_file();
	printf("seed %#llx\n", (unsigned long long)seed);
	fflush(stdout);
	for (end = time(NULL) + atoi(argv[1]); time(NULL) < end; total->rounds++) {
		uint64_t round = next_random(&seed);
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0)
			play(round);
		status = status_of(child);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			printf("round %#llx ended with status %#x\n", (unsigned long long)round, (unsigned)status);
			fflush(stdout);
			total->crashed++;
		}
		if (total->crashed + total->lost + total->twice + total->wrong > 0 &&
			getenv("STRESS_GO_ON") == NULL)
			break;
	}
	printf("%llu events, %llu lost, %llu twice, %llu wrong, %llu rounds crashed\n",
		(unsigned long long)total->events,
		(unsigned long long)total->lost, (unsigned long long)total->twice,
			(unsigned long long)total->wrong,
		(unsigned long long)total->crashed);
	printf("%llu rounds, %llu signals, %llu jumps, %llu cancellations, %llu contexts destroyed, %llu children; "
		"%llu events went with jumps and %llu with contexts\n", (unsigned long long)total->rounds,
		(unsigned long long)total->signals, (unsigned long long)total->jumps,
			(unsigned long long)total->cancels,
		(unsigned long long)total->destroys, (unsigned long long)total->forks,
			(unsigned long long)total->set_apart,
		(unsigned long long)total->destroyed_with);
	return total->lost + total->twice + total->wrong + total->crashed > 0 || total->events == 0;
}
