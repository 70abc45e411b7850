/*
 * The header compiles without a warning, alone and beside the headers that name the same things,
 * and old spellings go on compiling. Nothing is run. FIRST or LAST add one more header before or
 * after it.
 */
#ifdef FIRST
#include FIRST
#endif
#include <libaio.h>
#include <libaio.h>
#ifdef LAST
#include LAST
#endif

#ifdef OLD_PROGRAM
/* What programs written for the original do, since it lacked these names. */
#ifndef IOCB_FLAG_RESFD
#define IOCB_FLAG_RESFD (1 << 0)
#endif
#define RWF_NOWAIT 0x00000008
#define RWF_DSYNC (2)
#endif

int use(io_context_t ctx, struct iocb *iocb, struct io_event *events, sigset_t *mask);

int use(io_context_t ctx, struct iocb *iocb, struct io_event *events, sigset_t *mask)
{
	struct iocb *list[1];

	io_prep_pwrite(iocb, 1, (void *)0, 1, 2);
	io_prep_pwritev2(iocb, 1, (const struct iovec *)0, 1, 2, RWF_NOWAIT | RWF_DSYNC);
	io_set_callback(iocb, (io_callback_t)0);
	io_set_ioprio(iocb, 0);
	iocb->u.c.flags |= IOCB_FLAG_RESFD;
	list[0] = iocb;
	return io_submit(ctx, 1, list) + io_pgetevents(ctx, 0, 1, events, (struct timespec *)0, mask) +
	       io_getevents(ctx, 0, 1, events, (struct timespec *)0);
}
