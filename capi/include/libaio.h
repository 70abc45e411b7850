/*
 * libaio.h: asynchronous I/O through the Linux kernel's own AIO system calls.
 *
 * The interface of the C library libaio 0.3.113, declared afresh for the drop-in of the linux-aio
 * project.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Every function returns a negative errno value on failure and leaves errno itself alone.
 * The layout of struct iocb and struct io_event is the kernel's, on every architecture.
 */
#ifndef __LIBAIO_H
#define __LIBAIO_H

#include <sys/types.h>
#include <string.h>
#include <signal.h>
/* In strict C89 and C99 only this header defines sigset_t and struct timespec. */
#include <sys/select.h>

#ifdef __cplusplus
extern "C" {
#endif

struct timespec;
struct sockaddr;
struct iovec;
struct iocb;

#if !defined(__BYTE_ORDER__) || !defined(__SIZEOF_POINTER__) || !defined(__SIZEOF_LONG__)
#error "libaio.h needs __BYTE_ORDER__, __SIZEOF_POINTER__ and __SIZEOF_LONG__ from the compiler"
#endif

#ifdef __GNUC__
#define LIBAIO_INLINE_ static __inline__
#define LIBAIO_EXTENSION_ __extension__
#else
#define LIBAIO_INLINE_ static inline
#define LIBAIO_EXTENSION_
#endif

#if defined(__cplusplus) && defined(__GNUC__)
/* g++ warns of long long in C++98 even behind __extension__. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wlong-long"
#endif
LIBAIO_EXTENSION_ typedef long long __libaio_offset_t;
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

typedef struct io_context *io_context_t;

typedef enum io_iocb_cmd {
	IO_CMD_PREAD = 0,
	IO_CMD_PWRITE = 1,
	IO_CMD_FSYNC = 2,
	IO_CMD_FDSYNC = 3,
	/* 4 was an experiment of long ago. */
	IO_CMD_POLL = 5,
	IO_CMD_NOOP = 6,
	IO_CMD_PREADV = 7,
	IO_CMD_PWRITEV = 8
} io_iocb_cmd_t;

/*
 * Flags for iocb.aio_rw_flags (RWF_*) and for iocb.u.c.flags (IOCB_FLAG_*). The two sets share
 * values: never mix them up. They are enumerators, not macros, so that a program which defines such
 * a macro itself, or includes <sys/uio.h> or <linux/fs.h> before or after this header, goes on
 * compiling.
 */
enum {
#ifndef RWF_HIPRI
	RWF_HIPRI = 0x00000001,
#endif
#ifndef RWF_DSYNC
	RWF_DSYNC = 0x00000002,
#endif
#ifndef RWF_SYNC
	RWF_SYNC = 0x00000004,
#endif
#ifndef RWF_NOWAIT
	RWF_NOWAIT = 0x00000008,
#endif
#ifndef RWF_APPEND
	RWF_APPEND = 0x00000010,
#endif
#ifndef RWF_NOAPPEND
	RWF_NOAPPEND = 0x00000020,
#endif
#ifndef RWF_ATOMIC
	RWF_ATOMIC = 0x00000040,
#endif
#ifndef RWF_DONTCACHE
	RWF_DONTCACHE = 0x00000080,
#endif
#ifndef RWF_NOSIGNAL
	RWF_NOSIGNAL = 0x00000100,
#endif
#ifndef IOCB_FLAG_RESFD
	IOCB_FLAG_RESFD = 0x00000001,
#endif
#ifndef IOCB_FLAG_IOPRIO
	IOCB_FLAG_IOPRIO = 0x00000002,
#endif
	/* Never empty, and C89 allows no comma at the end. */
	__LIBAIO_FLAGS_END = 0
};

/*
 * The kernel's records have 64-bit fields on every architecture. LIBAIO_WIDE_ declares one that
 * holds a pointer or a long: where those have 32 bits it adds the other half, on the side the byte
 * order asks for. LIBAIO_HALVES_ declares the two 32-bit halves of one field, the less significant
 * half first.
 */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LIBAIO_HALVES_(low, high) high; low
#else
#define LIBAIO_HALVES_(low, high) low; high
#endif
#if __SIZEOF_POINTER__ == 8
#define LIBAIO_WIDE_(member, pad) member
#else
#define LIBAIO_WIDE_(member, pad) LIBAIO_HALVES_(member, unsigned pad)
#endif

struct io_iocb_poll {
	LIBAIO_HALVES_(int events, int __pad1);
};

struct io_iocb_sockaddr {
	LIBAIO_WIDE_(struct sockaddr *addr, __pad1);
	LIBAIO_WIDE_(unsigned long len, __pad2);
};

struct io_iocb_common {
	LIBAIO_WIDE_(void *buf, __pad1);
	LIBAIO_WIDE_(unsigned long nbytes, __pad2);
	__libaio_offset_t offset;
	__libaio_offset_t __pad3;
	unsigned flags;
	unsigned resfd;
};

struct io_iocb_vector {
	LIBAIO_WIDE_(const struct iovec *vec, __pad1);
	LIBAIO_WIDE_(unsigned long nr, __pad2);
	__libaio_offset_t offset;
};

/* One operation, as io_submit takes it. */
struct iocb {
	/* Comes back in io_event.data; io_queue_run calls it as an io_callback_t. */
	LIBAIO_WIDE_(void *data, __pad1);
	/* key is the kernel's own: io_submit writes it. */
	LIBAIO_HALVES_(unsigned key, unsigned aio_rw_flags);
	short aio_lio_opcode;
	short aio_reqprio;
	int aio_fildes;
	union {
		struct io_iocb_common c;
		struct io_iocb_vector v;
		struct io_iocb_poll poll;
		struct io_iocb_sockaddr saddr;
	} u;
};

/* One finished operation. A negative res, read as long, is a negative errno value. */
struct io_event {
	LIBAIO_WIDE_(void *data, __pad1);
	LIBAIO_WIDE_(struct iocb *obj, __pad2);
	LIBAIO_WIDE_(unsigned long res, __pad3);
	LIBAIO_WIDE_(unsigned long res2, __pad4);
};

/* What the system call io_pgetevents takes as its last argument. */
struct io_sigset {
	unsigned long ss;
	unsigned long ss_len;
};

#undef LIBAIO_WIDE_
#undef LIBAIO_HALVES_

typedef void (*io_callback_t)(io_context_t ctx, struct iocb *iocb, long res, long res2);

/*
 * With a 64-bit time_t on a 32-bit target, the two functions that take a time are the ones made for
 * it.
 */
#if __SIZEOF_LONG__ == 4 && (defined(__USE_TIME_BITS64) || defined(_REDIR_TIME64))
#ifdef __GNUC__
#define LIBAIO_TIME64_(name) __asm__(#name "_time64")
#else
#define io_getevents io_getevents_time64
#define io_pgetevents io_pgetevents_time64
#endif
#endif
#ifndef LIBAIO_TIME64_
#define LIBAIO_TIME64_(name)
#endif

extern int io_queue_init(int maxevents, io_context_t *ctxp);
extern int io_queue_release(io_context_t ctx);
extern int io_queue_run(io_context_t ctx);
extern int io_setup(int maxevents, io_context_t *ctxp);
extern int io_destroy(io_context_t ctx);
extern int io_submit(io_context_t ctx, long nr, struct iocb *ios[]);
extern int io_cancel(io_context_t ctx, struct iocb *iocb, struct io_event *evt);
extern int io_getevents(io_context_t ctx, long min_nr, long nr, struct io_event *events,
			struct timespec *timeout) LIBAIO_TIME64_(io_getevents);
extern int io_pgetevents(io_context_t ctx, long min_nr, long nr, struct io_event *events,
			 struct timespec *timeout, sigset_t *sigmask) LIBAIO_TIME64_(io_pgetevents);

#undef LIBAIO_TIME64_

/* The operation's callback, for io_queue_run. It takes the place of data. */
LIBAIO_INLINE_ void io_set_callback(struct iocb *iocb, io_callback_t cb)
{
	/* ISO C has no conversion of a function pointer to void *. */
	memcpy(&iocb->data, &cb, sizeof(cb));
}

/*
 * Each io_prep function clears the whole iocb first, so io_set_callback, io_set_eventfd,
 * io_set_ioprio and assignments to data come after it.
 */

LIBAIO_INLINE_ void io_prep_pread(struct iocb *iocb, int fd, void *buf, size_t count,
	__libaio_offset_t offset)
{
	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_lio_opcode = IO_CMD_PREAD;
	iocb->aio_fildes = fd;
	iocb->u.c.buf = buf;
	iocb->u.c.nbytes = count;
	iocb->u.c.offset = offset;
}

LIBAIO_INLINE_ void io_prep_pwrite(struct iocb *iocb, int fd, void *buf, size_t count,
	__libaio_offset_t offset)
{
	io_prep_pread(iocb, fd, buf, count, offset);
	iocb->aio_lio_opcode = IO_CMD_PWRITE;
}

LIBAIO_INLINE_ void io_prep_preadv2(struct iocb *iocb, int fd, const struct iovec *iov, int iovcnt,
				    __libaio_offset_t offset, int flags)
{
	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_lio_opcode = IO_CMD_PREADV;
	iocb->aio_fildes = fd;
	iocb->aio_rw_flags = (unsigned)flags;
	iocb->u.v.vec = iov;
	iocb->u.v.nr = (unsigned long)iovcnt;
	iocb->u.v.offset = offset;
}

LIBAIO_INLINE_ void io_prep_pwritev2(struct iocb *iocb, int fd, const struct iovec *iov, int iovcnt,
				     __libaio_offset_t offset, int flags)
{
	io_prep_preadv2(iocb, fd, iov, iovcnt, offset, flags);
	iocb->aio_lio_opcode = IO_CMD_PWRITEV;
}

LIBAIO_INLINE_ void io_prep_preadv(struct iocb *iocb, int fd, const struct iovec *iov, int iovcnt,
				   __libaio_offset_t offset)
{
	io_prep_preadv2(iocb, fd, iov, iovcnt, offset, 0);
}

LIBAIO_INLINE_ void io_prep_pwritev(struct iocb *iocb, int fd, const struct iovec *iov, int iovcnt,
				    __libaio_offset_t offset)
{
	io_prep_pwritev2(iocb, fd, iov, iovcnt, offset, 0);
}

LIBAIO_INLINE_ void io_prep_poll(struct iocb *iocb, int fd, int events)
{
	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_lio_opcode = IO_CMD_POLL;
	iocb->aio_fildes = fd;
	iocb->u.poll.events = events;
}

LIBAIO_INLINE_ void io_prep_fsync(struct iocb *iocb, int fd)
{
	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_lio_opcode = IO_CMD_FSYNC;
	iocb->aio_fildes = fd;
}

LIBAIO_INLINE_ void io_prep_fdsync(struct iocb *iocb, int fd)
{
	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_lio_opcode = IO_CMD_FDSYNC;
	iocb->aio_fildes = fd;
}

/* Prepare, set the callback and submit, in one call; the result is io_submit's. */

LIBAIO_INLINE_ int io_poll(io_context_t ctx, struct iocb *iocb, io_callback_t cb, int fd,
	int events)
{
	io_prep_poll(iocb, fd, events);
	io_set_callback(iocb, cb);
	return io_submit(ctx, 1, &iocb);
}

LIBAIO_INLINE_ int io_fsync(io_context_t ctx, struct iocb *iocb, io_callback_t cb, int fd)
{
	io_prep_fsync(iocb, fd);
	io_set_callback(iocb, cb);
	return io_submit(ctx, 1, &iocb);
}

LIBAIO_INLINE_ int io_fdsync(io_context_t ctx, struct iocb *iocb, io_callback_t cb, int fd)
{
	io_prep_fdsync(iocb, fd);
	io_set_callback(iocb, cb);
	return io_submit(ctx, 1, &iocb);
}

/* The kernel adds 1 to this eventfd when the operation is finished and its event can be had. */
LIBAIO_INLINE_ void io_set_eventfd(struct iocb *iocb, int eventfd)
{
	iocb->u.c.flags |= 0x1u; /* IOCB_FLAG_RESFD, whatever the program calls so */
	iocb->u.c.resfd = (unsigned)eventfd;
}

/*
 * The operation's I/O priority: IOPRIO_PRIO_VALUE(class, level) of <linux/ioprio.h>. Without the
 * flag set here the kernel ignores aio_reqprio. Not in libaio 0.3.113.
 */
LIBAIO_INLINE_ void io_set_ioprio(struct iocb *iocb, int ioprio)
{
	iocb->u.c.flags |= 0x2u; /* IOCB_FLAG_IOPRIO */
	iocb->aio_reqprio = (short)ioprio;
}

#undef LIBAIO_INLINE_
#undef LIBAIO_EXTENSION_

#ifdef __cplusplus
}
#endif

#endif /* __LIBAIO_H */
