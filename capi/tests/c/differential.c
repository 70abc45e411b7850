/*
 * Call by call, this library and the original libaio return the same, say the same through their
 * arguments, and treat errno the same. Method: both are loaded into one process, each plays the
 * same scenario through its own symbols, and what each returned is compared line by line.
 *   differential OURS ORIGINAL
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

struct library {
	int (*queue_init)(int, io_context_t *);
	int (*queue_release)(io_context_t);
	int (*queue_run)(io_context_t);
	int (*queue_wait)(io_context_t, struct timespec *);
	int (*setup)(int, io_context_t *);
	int (*destroy)(io_context_t);
	int (*submit)(io_context_t, long, struct iocb **);
	int (*cancel)(io_context_t, struct iocb *, struct io_event *);
	int (*getevents)(io_context_t, long, long, struct io_event *, struct timespec *);
	int (*pgetevents)(io_context_t, long, long, struct io_event *, struct timespec *, sigset_t *);
	int (*old_cancel)(io_context_t, struct iocb *);
	int (*old_getevents)(io_context_t, long, struct io_event *, const struct timespec *);
	int (*old_queue_wait)(io_context_t, struct timespec *);
};

static FILE *record;
static struct iocb operations[4];
static int calls;

static void bind(void *handle, const char *name, const char *version, void *function)
{
	void *symbol = dlvsym(handle, name, version);

	if (symbol == NULL) {
		fprintf(stderr, "%s@%s: %s\n", name, version, dlerror());
		exit(1);
	}
	memcpy(function, &symbol, sizeof(symbol));
}

static struct library load(const char *path)
{
	struct library library;
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (handle == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	bind(handle, "io_queue_init", "LIBAIO_0.1", &library.queue_init);
	bind(handle, "io_queue_release", "LIBAIO_0.1", &library.queue_release);
	bind(handle, "io_queue_run", "LIBAIO_0.1", &library.queue_run);
	bind(handle, "io_queue_wait", "LIBAIO_0.4", &library.queue_wait);
	bind(handle, "io_setup", "LIBAIO_0.4", &library.setup);
	bind(handle, "io_destroy", "LIBAIO_0.4", &library.destroy);
	bind(handle, "io_submit", "LIBAIO_0.1", &library.submit);
	bind(handle, "io_cancel", "LIBAIO_0.4", &library.cancel);
	bind(handle, "io_getevents", "LIBAIO_0.4", &library.getevents);
	bind(handle, "io_pgetevents", "LIBAIO_0.5", &library.pgetevents);
	bind(handle, "io_cancel", "LIBAIO_0.1", &library.old_cancel);
	bind(handle, "io_getevents", "LIBAIO_0.1", &library.old_getevents);
	bind(handle, "io_queue_wait", "LIBAIO_0.1", &library.old_queue_wait);
	return library;
}

/* The call's text, result and effect on errno, as a line of the record. */
#define SAY(call) \
	do { \
		int result_; \
		errno = UNTOUCHED; \
		result_ = (call); \
		fprintf(record, "%s = %d, errno %d\n", #call, result_, errno); \
	} while (0)

static void say_event(const struct io_event *event)
{
	fprintf(record, "event: operation %d, data %lu, res %ld, res2 %ld\n",
		(int)(event->obj - operations),
		(unsigned long)(uintptr_t)event->data, (long)event->res, (long)event->res2);
}

static void called(io_context_t ctx, struct iocb *iocb, long res, long res2)
{
	calls++;
	fprintf(record, "callback: context %d, operation %d, res %ld, res2 %ld\n", ctx != NULL,
		(int)(iocb - operations), res, res2);
}

static void play(const struct library *lib)
{
	struct timespec zero = { 0, 0 }, instant = { 0, 1000 }, odd = { 0, 2000000000 };
	struct iocb *list[4], *broken[2];
	struct io_event events[4];
	struct iovec vector;
	io_context_t ctx, none = NULL;
	sigset_t mask;
	char buffer[64];
	int ends[2], zeroes = open("/dev/zero", O_RDONLY), i;

	calls = 0;
	memset(operations, 0, sizeof(operations));
	memset(events, 0x5a, sizeof(events));
	sigemptyset(&mask);
	CHECK(zeroes >= 0 && pipe(ends) == 0);
	for (i = 0; i < 4; i++)
		list[i] = &operations[i];

	/* Making contexts. */
	ctx = NULL;
	SAY(lib->setup(0, &ctx));
	SAY(lib->setup(-1, &ctx));
	SAY(lib->setup(0x7fffffff, &ctx));
	SAY(lib->setup(8, NULL));
	ctx = (io_context_t)(uintptr_t)0x1234;
	SAY(lib->setup(8, &ctx));
	SAY(lib->queue_init(0, &ctx));
	SAY(lib->queue_init(-1, &ctx));
	SAY(lib->queue_init(-2147483647 - 1, NULL));
	fprintf(record, "context %lu\n", (unsigned long)(uintptr_t)ctx);
	SAY(lib->queue_init(0x7fffffff, &ctx));
	fprintf(record, "context %lu\n", (unsigned long)(uintptr_t)ctx);
	ctx = (io_context_t)(uintptr_t)0x1234;
	SAY(lib->queue_init(8, &ctx));
	SAY(lib->queue_release(ctx));
	SAY(lib->queue_release(ctx));
	ctx = NULL;
	SAY(lib->setup(8, &ctx));

	/* No context. */
	SAY(lib->destroy(none));
	SAY(lib->queue_release(none));
	SAY(lib->submit(none, 1, list));
	SAY(lib->cancel(none, &operations[0], events));
	SAY(lib->cancel(none, NULL, events));
	SAY(lib->old_cancel(none, &operations[0]));
	SAY(lib->getevents(none, 1, 1, events, NULL));
	SAY(lib->getevents(none, 1, 1, events, &zero));
	SAY(lib->pgetevents(none, 1, 1, events, &zero, &mask));
	SAY(lib->old_getevents(none, 1, events, &zero));
	SAY(lib->queue_wait(none, &zero));
	SAY(lib->old_queue_wait(none, NULL));
	SAY(lib->queue_run(none));

	/* Nothing there. */
	SAY(lib->getevents(ctx, 0, 4, events, NULL));
	SAY(lib->getevents(ctx, 1, 4, events, &zero));
	SAY(lib->getevents(ctx, 5, 4, events, &zero));
	SAY(lib->getevents(ctx, -5, -4, NULL, &zero));
	SAY(lib->getevents(ctx, 5, 4, events, &instant));
	SAY(lib->getevents(ctx, 5, 4, events, NULL));
	SAY(lib->getevents(ctx, -5, 4, events, NULL));
	SAY(lib->getevents(ctx, 1, 4, events, &instant));
	SAY(lib->getevents(ctx, 0, 4, events, &odd));
	SAY(lib->getevents(ctx, 0, 4, NULL, NULL));
	SAY(lib->pgetevents(ctx, 0, 4, events, NULL, NULL));
	SAY(lib->pgetevents(ctx, 0, 4, events, NULL, &mask));
	SAY(lib->pgetevents(ctx, 1, 4, events, &zero, (sigset_t *)(uintptr_t)8));
	SAY(lib->pgetevents(ctx, 1, 4, events, &instant, (sigset_t *)(uintptr_t)8));
	SAY(lib->pgetevents(ctx, 1, 4, events, &instant, &mask));
	SAY(lib->pgetevents(ctx, 5, 4, events, &instant, &mask));
	SAY(lib->old_getevents(ctx, 4, events, &zero));
	SAY(lib->old_getevents(ctx, 4, events, &instant));
	SAY(lib->old_getevents(ctx, 0, events, NULL));
	SAY(lib->queue_wait(ctx, NULL));
	SAY(lib->queue_wait(ctx, &zero));
	SAY(lib->queue_wait(ctx, &instant));
	SAY(lib->old_queue_wait(ctx, NULL));
	SAY(lib->old_queue_wait(ctx, &zero));
	SAY(lib->old_queue_wait(ctx, &instant));
	SAY(lib->queue_run(ctx));

	/* Operations, and events taken by each function. */
	for (i = 0; i < 4; i++) {
		io_prep_pread(&operations[i], zeroes, buffer, (size_t)(10 + i), 0);
		operations[i].data = (void *)(uintptr_t)(100 + i);
	}
	SAY(lib->submit(ctx, 4, list));
	SAY(lib->getevents(ctx, 1, 1, events, &zero));
	say_event(&events[0]);
	SAY(lib->pgetevents(ctx, 1, 1, events, NULL, &mask));
	say_event(&events[0]);
	SAY(lib->queue_wait(ctx, NULL));
	SAY(lib->queue_wait(ctx, &zero));
	SAY(lib->old_getevents(ctx, 4, events, NULL));
	say_event(&events[0]);
	say_event(&events[1]);
	SAY(lib->submit(ctx, 2, list));
	SAY(lib->getevents(ctx, 2, 2, NULL, NULL));
	SAY(lib->getevents(ctx, 2, 2, events, NULL));
	vector.iov_base = buffer;
	vector.iov_len = 5;
	io_prep_preadv(&operations[0], zeroes, &vector, 1, 0);
	io_prep_pread(&operations[1], -1, buffer, 1, 0);
	io_prep_pread(&operations[2], zeroes, buffer, (size_t)-1, 0);
	io_prep_fsync(&operations[3], ends[0]);
	SAY(lib->submit(ctx, 4, list));
	SAY(lib->submit(ctx, 1, list + 1));
	SAY(lib->submit(ctx, 1, list + 2));
	SAY(lib->submit(ctx, 1, list + 3));
	SAY(lib->submit(ctx, 0, NULL));
	SAY(lib->submit(ctx, -1, list));
	SAY(lib->submit(ctx, 1, NULL));
	broken[0] = (struct iocb *)(uintptr_t)16;
	broken[1] = NULL;
	SAY(lib->submit(ctx, 2, broken));
	SAY(lib->getevents(ctx, 1, 4, events, NULL));
	say_event(&events[0]);

	/* Polls and their end. */
	io_prep_poll(&operations[0], ends[0], POLLIN);
	SAY(lib->submit(ctx, 1, list));
	memset(events, 0x5a, sizeof(events));
	SAY(lib->cancel(ctx, &operations[0], events));
	fprintf(record, "written: %d\n", *(unsigned char *)events != 0x5a);
	SAY(lib->getevents(ctx, 1, 4, events, NULL));
	fprintf(record, "operation %d\n", (int)(events[0].obj - operations));
	SAY(lib->cancel(ctx, &operations[0], events));
	SAY(lib->submit(ctx, 1, list));
	SAY(lib->old_cancel(ctx, &operations[0]));
	SAY(lib->getevents(ctx, 1, 4, events, NULL));
	SAY(lib->old_cancel(ctx, &operations[0]));
	SAY(lib->cancel(ctx, &operations[3], NULL));
	SAY(lib->cancel(ctx, NULL, NULL));

	/* Callbacks. */
	for (i = 0; i < 4; i++) {
		io_prep_pread(&operations[i], zeroes, buffer, (size_t)(20 + i), 0);
		io_set_callback(&operations[i], called);
	}
	SAY(lib->submit(ctx, 4, list));
	SAY(lib->queue_run(ctx));
	fprintf(record, "%d callbacks\n", calls);
	SAY(lib->queue_run(ctx));
	SAY(lib->destroy(ctx));
	SAY(lib->destroy(ctx));
	/* Here the original would read the ring that is gone, and crash. */
	close(zeroes);
	close(ends[0]);
	close(ends[1]);
}

static char *play_and_record(const char *path)
{
	struct library library = load(path);
	char *text = NULL;
	size_t length = 0;

	record = open_memstream(&text, &length);
	CHECK(record != NULL);
	play(&library);
	CHECK(fclose(record) == 0 && text != NULL);
	return text;
}

int main(int argc, char **argv)
{
	char *ours, *original, *a, *b;
	int lines = 0, different = 0;

	CHECK(argc == 3);
	ours = play_and_record(argv[1]);
	original = play_and_record(argv[2]);
	if (strstr(ours, "lib->setup(8, &ctx) = -38") != NULL || strstr(ours,
		"lib->setup(8, &ctx) = -1,") != NULL)
		SKIP("this kernel or container has no AIO");
	while (1) {
		a = strsep(&ours, "\n");
		b = strsep(&original, "\n");
		if (a == NULL || b == NULL)
			break;
		lines++;
		if (strcmp(a, b) != 0) {
			different++;
			fprintf(stderr, "ours:     %s\noriginal: %s\n", a, b);
		}
	}
	CHECK(a == NULL && b == NULL);
	CHECK(lines > 80);
	CHECK(different == 0);
	return 0;
}
