/*
 * Uses the functions of libaio.so.1 on a file, so that the system calls of the drop-in can be
 * recorded and allowed.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BLOCK = 4096 };

#define MUST(condition) do { if (!(condition)) abort(); } while (0)

static void perform(io_context_t ctx, struct iocb *iocb)
{
	struct io_event event;

	MUST(io_submit(ctx, 1, &iocb) == 1);
	MUST(io_getevents(ctx, 1, 1, &event, NULL) == 1);
	MUST((long)event.res >= 0);
}

int main(int argc, char **argv)
{
	static char buffer[BLOCK] __attribute__((aligned(BLOCK)));
	struct timespec moment = { 0, 2000000 }, none = { 0, 0 };
	struct iocb iocb, *poll = &iocb;
	struct io_event event;
	io_context_t ctx = NULL;
	sigset_t mask;
	int fd, silent;

	MUST(argc == 2);
	fd = open(argv[1], O_RDWR | O_DIRECT);
	if (fd < 0)
		fd = open(argv[1], O_RDWR);
	MUST(fd >= 0);
	MUST(io_setup(8, &ctx) == 0);
	io_prep_pwrite(&iocb, fd, buffer, BLOCK, 0);
	perform(ctx, &iocb);
	io_prep_fsync(&iocb, fd);
	perform(ctx, &iocb);
	io_prep_pread(&iocb, fd, buffer, BLOCK, 0);
	perform(ctx, &iocb);

	silent = eventfd(0, 0);
	MUST(silent >= 0);
	io_prep_poll(&iocb, silent, 1);
	MUST(io_submit(ctx, 1, &poll) == 1);
	MUST(io_getevents(ctx, 0, 1, &event, &none) == 0);
	MUST(io_getevents(ctx, 1, 1, &event, &moment) == 0);
	sigemptyset(&mask);
	MUST(io_pgetevents(ctx, 1, 1, &event, &moment, &mask) == 0);
	io_cancel(ctx, &iocb, &event);
	MUST(io_getevents(ctx, 1, 1, &event, NULL) == 1);
	MUST(io_destroy(ctx) == 0);
	return 0;
}
