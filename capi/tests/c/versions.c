/*
 * Each name is there under each of its versions; the default one is what a program that asks for
 * none gets; the hidden ones behave as LIBAIO_0.1 did. Method: dlvsym, and for two of them a
 * reference of that version that the linker resolves.
 *   versions PATH-OF-THE-LIBRARY
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static const struct {
	const char *name;
	const char *version;
	int is_default;
} symbols[] = {
	{ "io_queue_init", "LIBAIO_0.1", 1 },	{ "io_queue_run", "LIBAIO_0.1", 1 },
	{ "io_queue_release", "LIBAIO_0.1", 1 }, { "io_submit", "LIBAIO_0.1", 1 },
	{ "io_setup", "LIBAIO_0.4", 1 },	{ "io_destroy", "LIBAIO_0.4", 1 },
	{ "io_cancel", "LIBAIO_0.4", 1 },	{ "io_getevents", "LIBAIO_0.4", 1 },
	{ "io_queue_wait", "LIBAIO_0.4", 1 },	{ "io_pgetevents", "LIBAIO_0.5", 1 },
	{ "io_cancel", "LIBAIO_0.1", 0 },	{ "io_getevents", "LIBAIO_0.1", 0 },
	{ "io_queue_wait", "LIBAIO_0.1", 0 },
#if __SIZEOF_LONG__ == 4
	{ "io_getevents_time64", "LIBAIO_0.6", 1 }, { "io_pgetevents_time64", "LIBAIO_0.6", 1 },
#endif
};

static const struct {
	const char *name;
	const char *version;
} absent[] = {
	{ "io_submit", "LIBAIO_0.4" },	 { "io_setup", "LIBAIO_0.1" },	    { "io_pgetevents",
		"LIBAIO_0.4" },
	{ "io_getevents", "LIBAIO_0.5" }, { "io_queue_init", "LIBAIO_0.4" },
};

/* As a program of those days was linked. */
extern int old_cancel(io_context_t, struct iocb *);
extern int old_getevents(io_context_t, long, struct io_event *, const struct timespec *);
__asm__(".symver old_cancel, io_cancel@LIBAIO_0.1");
__asm__(".symver old_getevents, io_getevents@LIBAIO_0.1");

typedef int cancel_function(io_context_t, struct iocb *);
typedef int getevents_function(io_context_t, long, struct io_event *, const struct timespec *);
typedef int wait_function(io_context_t, struct timespec *);

static void *find(void *library, const char *name, const char *version)
{
	void *symbol = dlvsym(library, name, version);

	if (symbol == NULL) {
		fprintf(stderr, "no %s@%s\n", name, version);
		exit(1);
	}
	return symbol;
}

static void behave(cancel_function *cancel, getevents_function *getevents, wait_function *wait)
{
	struct timespec zero = { 0, 0 }, instant = { 0, 1000 };
	struct io_event events[4];
	struct iocb poll, read_zero, *list[1];
	io_context_t ctx = NULL;
	char buffer[16];
	int ends[2], zeroes = open("/dev/zero", O_RDONLY), result = io_setup(8, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	CHECK(result == 0 && zeroes >= 0 && pipe(ends) == 0);

	/* None there: the four arguments are context, room, events and time. */
	RETURNS(0, getevents(ctx, 4, events, &zero));
	RETURNS(0, getevents(ctx, 4, events, &instant));
	/* It waits for one: room for none is refused. */
	RETURNS(-EINVAL, getevents(ctx, 0, events, &instant));
	list[0] = &read_zero;
	io_prep_pread(&read_zero, zeroes, buffer, sizeof(buffer), 0);
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(2, getevents(ctx, 4, events, NULL));
	CHECK(events[0].obj == &read_zero && events[1].res == sizeof(buffer));

	RETURNS(1, io_poll(ctx, &poll, NULL, ends[0], POLLIN));
	RETURNS(0, wait(ctx, NULL));
	RETURNS(0, wait(ctx, &zero));
	RETURNS(-EINPROGRESS, cancel(ctx, &poll));
	RETURNS(1, getevents(ctx, 1, events, NULL));
	RETURNS(-EINVAL, cancel(ctx, &poll));
	RETURNS(0, io_destroy(ctx));
	RETURNS(-EINVAL, wait(ctx, NULL));
	close(ends[0]);
	close(ends[1]);
	close(zeroes);
}

int main(int argc, char **argv)
{
	void *library;
	size_t i;

	CHECK(argc == 2);
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	for (i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *symbol = find(library, symbols[i].name, symbols[i].version);

		if (symbols[i].is_default)
			CHECK(symbol == dlsym(library, symbols[i].name));
	}
	/* Two versions that differ in their arguments are two functions. */
	CHECK(find(library, "io_cancel", "LIBAIO_0.1") != find(library, "io_cancel", "LIBAIO_0.4"));
	CHECK(find(library, "io_getevents", "LIBAIO_0.1") != find(library, "io_getevents", "LIBAIO_0.4"));
	for (i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		CHECK(dlvsym(library, absent[i].name, absent[i].version) == NULL);
#if __SIZEOF_LONG__ == 8
	CHECK(dlsym(library, "io_getevents_time64") == NULL);
	CHECK(dlsym(library, "io_pgetevents_time64") == NULL);
#endif

	behave((cancel_function *)(uintptr_t)find(library, "io_cancel", "LIBAIO_0.1"),
	       (getevents_function *)(uintptr_t)find(library, "io_getevents", "LIBAIO_0.1"),
	       (wait_function *)(uintptr_t)find(library, "io_queue_wait", "LIBAIO_0.1"));
	behave(old_cancel, old_getevents, (wait_function *)(uintptr_t)dlsym(library, "io_queue_wait"));
	return 0;
}
