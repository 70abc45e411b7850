/*
 * Every inline function of the header fills the iocb as the kernel wants to see it, and clears the
 * rest. Method: each iocb starts as noise, and its fields are read back at the kernel's offsets as
 * the kernel's integers, not through the header's own structure. Every iocb is also printed; the
 * same program with the original header (-DORIGINAL_HEADER) must print the same.
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <stdint.h>
#include <sys/uio.h>

#include "check.h"

#define DATA 0
#define KEY (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 8 : 12)
#define RW_FLAGS (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 12 : 8)
#define OPCODE 16
#define REQPRIO 18
#define FILDES 20
#define BUF 24
#define NBYTES 32
#define OFFSET 40
#define RESERVED2 48
#define FLAGS 56
#define RESFD 60

static uint64_t field(const struct iocb *iocb, int offset, size_t size)
{
	const char *at = (const char *)iocb + offset;
	uint64_t wide;
	uint32_t word;
	uint16_t half;

	switch (size) {
	case 8:
		memcpy(&wide, at, 8);
		return wide;
	case 4:
		memcpy(&word, at, 4);
		return word;
	default:
		memcpy(&half, at, 2);
		return half;
	}
}

static struct iocb *noise(struct iocb *iocb)
{
	memset(iocb, 0xa5, sizeof(*iocb));
	return iocb;
}

static void is(const struct iocb *iocb, unsigned opcode, int fd, uint64_t buf, uint64_t nbytes,
	uint64_t offset,
	       unsigned rw_flags)
{
	const unsigned char *bytes = (const unsigned char *)iocb;
	size_t i;

	for (i = 0; i < sizeof(*iocb); i++)
		printf("%02x%s", bytes[i], i + 1 == sizeof(*iocb) ? "\n" : "");
	CHECK(field(iocb, KEY, 4) == 0);
	CHECK(field(iocb, RW_FLAGS, 4) == rw_flags);
	CHECK(field(iocb, OPCODE, 2) == opcode);
	CHECK(field(iocb, FILDES, 4) == (uint32_t)fd);
	CHECK(field(iocb, BUF, 8) == buf);
	CHECK(field(iocb, NBYTES, 8) == nbytes);
	CHECK(field(iocb, OFFSET, 8) == offset);
	CHECK(field(iocb, RESERVED2, 8) == 0);
}

static void bare(const struct iocb *iocb)
{
	CHECK(field(iocb, DATA, 8) == 0);
	CHECK(field(iocb, REQPRIO, 2) == 0);
	CHECK(field(iocb, FLAGS, 4) == 0);
	CHECK(field(iocb, RESFD, 4) == 0);
}

static void callback(io_context_t ctx, struct iocb *iocb, long res, long res2)
{
	(void)ctx;
	(void)iocb;
	(void)res;
	(void)res2;
}

int main(void)
{
	/* Addresses that are the same in every run; nobody follows them. */
	char *const buf = (char *)(uintptr_t)0x87654321u;
	const struct iovec *const iov = (const struct iovec *)(uintptr_t)0x76543210u;
	const long long big = 0x123456789abcdef0ll;
	struct iocb iocb;
	io_callback_t stored;

	CHECK(sizeof(struct iocb) == 64);
	CHECK(sizeof(struct io_event) == 32);

	io_prep_pread(noise(&iocb), 3, buf, 4096, big);
	is(&iocb, 0, 3, (uintptr_t)buf, 4096, (uint64_t)big, 0);
	bare(&iocb);
	io_prep_pread(noise(&iocb), -1, NULL, (size_t)-1, -1);
	is(&iocb, 0, -1, 0, (size_t)-1, (uint64_t)-1, 0);
	bare(&iocb);
	io_prep_pwrite(noise(&iocb), 4, buf, 512, 8192);
	is(&iocb, 1, 4, (uintptr_t)buf, 512, 8192, 0);
	bare(&iocb);
	io_prep_preadv(noise(&iocb), 5, iov, 3, big);
	is(&iocb, 7, 5, (uintptr_t)iov, 3, (uint64_t)big, 0);
	bare(&iocb);
	io_prep_pwritev(noise(&iocb), 6, iov, 1024, 1);
	is(&iocb, 8, 6, (uintptr_t)iov, 1024, 1, 0);
	bare(&iocb);
	io_prep_pwritev(noise(&iocb), 6, iov, -1, 1);
	is(&iocb, 8, 6, (uintptr_t)iov, (unsigned long)-1, 1, 0);
	io_prep_preadv2(noise(&iocb), 7, iov, 2, 4096, 0x8);
	is(&iocb, 7, 7, (uintptr_t)iov, 2, 4096, 8);
	bare(&iocb);
	io_prep_pwritev2(noise(&iocb), 8, iov, 2, 4096, -2);
	is(&iocb, 8, 8, (uintptr_t)iov, 2, 4096, (unsigned)-2);
	bare(&iocb);
	io_prep_poll(noise(&iocb), 9, 0x19);
	is(&iocb, 5, 9, 0x19, 0, 0, 0);
	bare(&iocb);
	io_prep_fsync(noise(&iocb), 10);
	is(&iocb, 2, 10, 0, 0, 0, 0);
	bare(&iocb);
	io_prep_fdsync(noise(&iocb), 11);
	is(&iocb, 3, 11, 0, 0, 0, 0);
	bare(&iocb);

	/* Setters leave everything else alone. */
	io_prep_pwrite(noise(&iocb), 4, buf, 512, 8192);
	io_set_eventfd(&iocb, 12);
	is(&iocb, 1, 4, (uintptr_t)buf, 512, 8192, 0);
	CHECK(field(&iocb, FLAGS, 4) == 1 && field(&iocb, RESFD, 4) == 12);
	iocb.u.c.flags = 0x80;
	io_set_eventfd(&iocb, 13);
	CHECK(field(&iocb, FLAGS, 4) == 0x81 && field(&iocb, RESFD, 4) == 13);
	iocb.data = buf;
	CHECK(field(&iocb, DATA, 8) == (uintptr_t)buf);
	io_set_callback(&iocb, callback);
	CHECK(field(&iocb, DATA, 8) == (uintptr_t)callback);
	memcpy(&stored, &iocb.data, sizeof(stored));
	CHECK(stored == callback);

	/* The one-call forms prepare, set the callback, and submit; this context cannot be one. */
	RETURNS(-EINVAL, io_poll(NULL, noise(&iocb), callback, 9, 0x19));
	CHECK(iocb.aio_lio_opcode == IO_CMD_POLL && field(&iocb, BUF, 8) == 0x19);
	CHECK(field(&iocb, DATA, 8) == (uintptr_t)callback && iocb.aio_fildes == 9);
	RETURNS(-EINVAL, io_fsync(NULL, noise(&iocb), callback, 10));
	CHECK(iocb.aio_lio_opcode == IO_CMD_FSYNC && iocb.aio_fildes == 10 && iocb.data != NULL);
	RETURNS(-EINVAL, io_fdsync(NULL, noise(&iocb), NULL, 11));
	CHECK(iocb.aio_lio_opcode == IO_CMD_FDSYNC && iocb.aio_fildes == 11 && iocb.data == NULL);

	/* Where the structures of the union lie. */
	memset(&iocb, 0, sizeof(iocb));
	iocb.u.saddr.addr = (struct sockaddr *)(void *)buf;
	iocb.u.saddr.len = 28;
	is(&iocb, 0, 0, (uintptr_t)buf, 28, 0, 0);
	printf("%d %d %d %d %d %d %d %d\n", IO_CMD_PREAD, IO_CMD_PWRITE, IO_CMD_FSYNC, IO_CMD_FDSYNC,
		IO_CMD_POLL,
	       IO_CMD_NOOP, IO_CMD_PREADV, IO_CMD_PWRITEV);
	printf("%u %u %u %u %u %u\n", (unsigned)sizeof(struct io_iocb_common),
		(unsigned)sizeof(struct io_iocb_vector),
	       (unsigned)sizeof(struct io_iocb_poll), (unsigned)sizeof(struct io_iocb_sockaddr),
	       (unsigned)sizeof(struct io_sigset), (unsigned)sizeof(io_iocb_cmd_t));

#ifndef ORIGINAL_HEADER
	io_prep_pread(noise(&iocb), 3, buf, 4096, 0);
	io_set_ioprio(&iocb, 1 << 13 | 4);
	io_set_eventfd(&iocb, 14);
	CHECK(field(&iocb, FLAGS, 4) == 3 && field(&iocb, RESFD, 4) == 14);
	CHECK(field(&iocb, FLAGS, 4) == (IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO));
	CHECK(field(&iocb, REQPRIO, 2) == 0x2004);
	CHECK(RWF_HIPRI == 1 && RWF_DSYNC == 2 && RWF_SYNC == 4 && RWF_NOWAIT == 8 && RWF_APPEND == 16);
	CHECK(RWF_NOAPPEND == 32 && RWF_ATOMIC == 64 && RWF_DONTCACHE == 128 && RWF_NOSIGNAL == 256);
#endif
	return 0;
}
