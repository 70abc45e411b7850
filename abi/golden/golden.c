/*
 * Layout, constants and system call numbers of Linux AIO, as the C compiler sees them.
 *
 * It is compiled to assembly or to LLVM IR and never run, so that it serves for architectures that
 * the machine is not: each value becomes a line of text "golden:NAME=VALUE" in the output, the
 * way of the kernel's own asm-offsets. Only kernel headers are included, never a C library's.
 *
 * Values are ints; AIO_RING_MAGIC comes out negative.
 */

#include <linux/version.h>

#include <linux/types.h>

#include <asm/fcntl.h>
#include <asm/mman.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/aio_abi.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/time_types.h>
#include <linux/uio.h>

#define VALUE(name, value) \
	__asm__ volatile("\n.ascii \"golden:" name "=%c0\"" : : "i"((int)(value)))
#define ABSENT(name) __asm__ volatile("\n.ascii \"golden:" name "=%c0\"" : : "i"(-1))

#define CONSTANT(name) VALUE(#name, name)
#define TYPE(type, rust)                            \
	VALUE("sizeof." rust, sizeof(type));        \
	VALUE("alignof." rust, __alignof__(type))
#define FIELD(type, rust, field) \
	VALUE("offsetof." rust "." #field, __builtin_offsetof(type, field))

/* fs/aio.c, not exported: the ring's header and its constants, the key. */
#define AIO_RING_MAGIC 0xa10a10a1
#define AIO_RING_COMPAT_FEATURES 1
#define AIO_RING_INCOMPAT_FEATURES 0
#define KIOCB_KEY 0

struct aio_ring {
	unsigned id;
	unsigned nr;
	unsigned head;
	unsigned tail;

	unsigned magic;
	unsigned compat_features;
	unsigned incompat_features;
	unsigned header_length;

	struct io_event io_events[];
};

/*
 * fs/aio.c, not exported. There the fields are a pointer and a size_t, both as wide as the kernel's
 * words; so they are written here, or x32 would get those of its own 32-bit pointers.
 */
struct __aio_sigset {
	__kernel_ulong_t sigmask;
	__kernel_ulong_t sigsetsize;
};

/*
 * Some architectures export _NSIG and the kernel's signal set, others keep them in
 * arch/.../include/asm/signal.h and export a set of one unsigned long. SPARC exports the kernel's
 * number as __NEW_NSIG, and as _NSIG, for user space only, that of SunOS.
 */
#ifdef __NEW_NSIG
#undef _NSIG
#define _NSIG __NEW_NSIG
#endif
#ifndef _NSIG
#define _NSIG 64
#endif

struct kernel_sigset {
	__kernel_ulong_t sig[_NSIG / (8 * sizeof(__kernel_ulong_t))];
};

/* asm/fcntl.h has it; linux/eventfd.h, which is not exported before Linux 6.6, says the same. */
#define EFD_CLOEXEC O_CLOEXEC
#define EFD_NONBLOCK O_NONBLOCK

void layout(void)
{
	CONSTANT(LINUX_VERSION_CODE);

	TYPE(__kernel_ulong_t, "__kernel_ulong_t");
	TYPE(__kernel_rwf_t, "__kernel_rwf_t");
	TYPE(aio_context_t, "aio_context_t");

	TYPE(struct iocb, "iocb");
	FIELD(struct iocb, "iocb", aio_data);
	FIELD(struct iocb, "iocb", aio_key);
	FIELD(struct iocb, "iocb", aio_rw_flags);
	FIELD(struct iocb, "iocb", aio_lio_opcode);
	FIELD(struct iocb, "iocb", aio_reqprio);
	FIELD(struct iocb, "iocb", aio_fildes);
	FIELD(struct iocb, "iocb", aio_buf);
	FIELD(struct iocb, "iocb", aio_nbytes);
	FIELD(struct iocb, "iocb", aio_offset);
	FIELD(struct iocb, "iocb", aio_reserved2);
	FIELD(struct iocb, "iocb", aio_flags);
	FIELD(struct iocb, "iocb", aio_resfd);

	TYPE(struct io_event, "io_event");
	FIELD(struct io_event, "io_event", data);
	FIELD(struct io_event, "io_event", obj);
	FIELD(struct io_event, "io_event", res);
	FIELD(struct io_event, "io_event", res2);

	TYPE(struct aio_ring, "aio_ring");
	FIELD(struct aio_ring, "aio_ring", id);
	FIELD(struct aio_ring, "aio_ring", nr);
	FIELD(struct aio_ring, "aio_ring", head);
	FIELD(struct aio_ring, "aio_ring", tail);
	FIELD(struct aio_ring, "aio_ring", magic);
	FIELD(struct aio_ring, "aio_ring", compat_features);
	FIELD(struct aio_ring, "aio_ring", incompat_features);
	FIELD(struct aio_ring, "aio_ring", header_length);
	FIELD(struct aio_ring, "aio_ring", io_events);

	TYPE(struct __aio_sigset, "__aio_sigset");
	FIELD(struct __aio_sigset, "__aio_sigset", sigmask);
	FIELD(struct __aio_sigset, "__aio_sigset", sigsetsize);
	TYPE(struct kernel_sigset, "sigset_t");

	TYPE(struct __kernel_timespec, "__kernel_timespec");
	FIELD(struct __kernel_timespec, "__kernel_timespec", tv_sec);
	FIELD(struct __kernel_timespec, "__kernel_timespec", tv_nsec);
	TYPE(struct __kernel_old_timespec, "__kernel_old_timespec");
	FIELD(struct __kernel_old_timespec, "__kernel_old_timespec", tv_sec);
	FIELD(struct __kernel_old_timespec, "__kernel_old_timespec", tv_nsec);

	TYPE(struct iovec, "iovec");
	FIELD(struct iovec, "iovec", iov_base);
	FIELD(struct iovec, "iovec", iov_len);
}

void constants(void)
{
	CONSTANT(IOCB_CMD_PREAD);
	CONSTANT(IOCB_CMD_PWRITE);
	CONSTANT(IOCB_CMD_FSYNC);
	CONSTANT(IOCB_CMD_FDSYNC);
	CONSTANT(IOCB_CMD_POLL);
	CONSTANT(IOCB_CMD_NOOP);
	CONSTANT(IOCB_CMD_PREADV);
	CONSTANT(IOCB_CMD_PWRITEV);
	CONSTANT(IOCB_FLAG_RESFD);
	CONSTANT(IOCB_FLAG_IOPRIO);
	CONSTANT(KIOCB_KEY);
	CONSTANT(AIO_RING_MAGIC);
	CONSTANT(AIO_RING_COMPAT_FEATURES);
	CONSTANT(AIO_RING_INCOMPAT_FEATURES);

	CONSTANT(RWF_HIPRI);
	CONSTANT(RWF_DSYNC);
	CONSTANT(RWF_SYNC);
	CONSTANT(RWF_NOWAIT);
	CONSTANT(RWF_APPEND);
#ifdef RWF_NOAPPEND
	CONSTANT(RWF_NOAPPEND);
#endif
#ifdef RWF_ATOMIC
	CONSTANT(RWF_ATOMIC);
#endif
#ifdef RWF_DONTCACHE
	CONSTANT(RWF_DONTCACHE);
#endif
#ifdef RWF_NOSIGNAL
	CONSTANT(RWF_NOSIGNAL);
#endif
	CONSTANT(RWF_SUPPORTED);

	CONSTANT(POLLIN);
	CONSTANT(POLLPRI);
	CONSTANT(POLLOUT);
	CONSTANT(POLLERR);
	CONSTANT(POLLHUP);
	CONSTANT(POLLNVAL);
	CONSTANT(POLLRDNORM);
	CONSTANT(POLLRDBAND);
	CONSTANT(POLLWRNORM);
	CONSTANT(POLLWRBAND);
	CONSTANT(POLLMSG);
	CONSTANT(POLLREMOVE);
	CONSTANT(POLLRDHUP);

	CONSTANT(_NSIG);

	VALUE("helper.O_CLOEXEC", O_CLOEXEC);
	VALUE("helper.O_RDONLY", O_RDONLY);
	VALUE("helper.AT_FDCWD", AT_FDCWD);
	VALUE("helper.EFD_CLOEXEC", EFD_CLOEXEC);
	VALUE("helper.EFD_NONBLOCK", EFD_NONBLOCK);
	VALUE("helper.PROT_NONE", PROT_NONE);
	VALUE("helper.PROT_READ", PROT_READ);
	VALUE("helper.PROT_WRITE", PROT_WRITE);
	VALUE("helper.MAP_PRIVATE", MAP_PRIVATE);
	VALUE("helper.MAP_ANONYMOUS", MAP_ANONYMOUS);
	VALUE("helper.MADV_DONTFORK", MADV_DONTFORK);
	VALUE("helper.MADV_DOFORK", MADV_DOFORK);
	VALUE("helper.MADV_WIPEONFORK", MADV_WIPEONFORK);
	VALUE("helper.MADV_KEEPONFORK", MADV_KEEPONFORK);
	VALUE("helper.SIGKILL", SIGKILL);
	VALUE("helper.FUTEX_WAIT", FUTEX_WAIT);
	VALUE("helper.FUTEX_WAKE", FUTEX_WAKE);
	VALUE("helper.FUTEX_PRIVATE_FLAG", FUTEX_PRIVATE_FLAG);
	VALUE("helper.SYNC_FILE_RANGE_WAIT_BEFORE", SYNC_FILE_RANGE_WAIT_BEFORE);
	VALUE("helper.SYNC_FILE_RANGE_WRITE", SYNC_FILE_RANGE_WRITE);
	VALUE("helper.SYNC_FILE_RANGE_WAIT_AFTER", SYNC_FILE_RANGE_WAIT_AFTER);
}

/* linux/ioprio.h is not exported before Linux 5.15. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 15, 0)
#include <linux/ioprio.h>

void ioprio(void)
{
	CONSTANT(IOPRIO_CLASS_SHIFT);
	CONSTANT(IOPRIO_CLASS_NONE);
	CONSTANT(IOPRIO_CLASS_RT);
	CONSTANT(IOPRIO_CLASS_BE);
	CONSTANT(IOPRIO_CLASS_IDLE);
	VALUE("IOPRIO_NR_LEVELS", IOPRIO_BE_NR);
}
#endif

#define SYSCALL(name) VALUE("syscall." #name, __NR_##name)

/* -1 stands for a call that the architecture does not have. */
void syscalls(void)
{
	SYSCALL(io_setup);
	SYSCALL(io_destroy);
	SYSCALL(io_submit);
	SYSCALL(io_cancel);
#ifdef __NR_io_getevents
	SYSCALL(io_getevents);
#else
	ABSENT("syscall.io_getevents");
#endif
#ifdef __NR_io_pgetevents
	SYSCALL(io_pgetevents);
#else
	ABSENT("syscall.io_pgetevents");
#endif
#ifdef __NR_io_pgetevents_time64
	SYSCALL(io_pgetevents_time64);
#else
	ABSENT("syscall.io_pgetevents_time64");
#endif
	SYSCALL(eventfd2);
#ifdef __NR_mmap2
	VALUE("syscall.mmap", __NR_mmap2);
#else
	SYSCALL(mmap);
#endif
	SYSCALL(munmap);
	SYSCALL(madvise);
	SYSCALL(kill);
	SYSCALL(getpid);
	SYSCALL(read);
	SYSCALL(write);
	SYSCALL(close);
	SYSCALL(openat);
#ifdef __NR_sync_file_range2
	ABSENT("syscall.sync_file_range");
	SYSCALL(sync_file_range2);
#else
	SYSCALL(sync_file_range);
	ABSENT("syscall.sync_file_range2");
#endif
#ifdef __NR_futex
	SYSCALL(futex);
#else
	ABSENT("syscall.futex");
#endif
#ifdef __NR_futex_time64
	SYSCALL(futex_time64);
#else
	ABSENT("syscall.futex_time64");
#endif
}
