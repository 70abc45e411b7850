/*
 * The header's structures are the kernel's on this target: 64-bit fields on every architecture, the
 * useful half of each where the byte order has it. Nothing is run; the compiler refuses what is not
 * so.
 */
#include <libaio.h>
#include <stddef.h>

#define SAME(expression, value) _Static_assert((expression) == (value), #expression)

/* Where a member of `bytes` bytes lies that is the value of the 64-bit field at `offset`. */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define VALUE(offset, bytes) ((offset) + 8 - (bytes))
#define FIRST_OF_PAIR(low, high) high
#else
#define VALUE(offset, bytes) (offset)
#define FIRST_OF_PAIR(low, high) low
#endif
#define WORD sizeof(void *)

SAME(sizeof(struct iocb), 64);
SAME(offsetof(struct iocb, data), VALUE(0, WORD));
SAME(offsetof(struct iocb, FIRST_OF_PAIR(key, aio_rw_flags)), 8);
SAME(offsetof(struct iocb, FIRST_OF_PAIR(aio_rw_flags, key)), 12);
SAME(offsetof(struct iocb, aio_lio_opcode), 16);
SAME(offsetof(struct iocb, aio_reqprio), 18);
SAME(offsetof(struct iocb, aio_fildes), 20);
SAME(offsetof(struct iocb, u.c.buf), VALUE(24, WORD));
SAME(offsetof(struct iocb, u.c.nbytes), VALUE(32, WORD));
SAME(offsetof(struct iocb, u.c.offset), 40);
SAME(offsetof(struct iocb, u.c.__pad3), 48);
SAME(offsetof(struct iocb, u.c.flags), 56);
SAME(offsetof(struct iocb, u.c.resfd), 60);
SAME(offsetof(struct iocb, u.v.vec), VALUE(24, WORD));
SAME(offsetof(struct iocb, u.v.nr), VALUE(32, WORD));
SAME(offsetof(struct iocb, u.v.offset), 40);
SAME(offsetof(struct iocb, u.poll.events), VALUE(24, 4));
SAME(offsetof(struct iocb, u.saddr.addr), VALUE(24, WORD));
SAME(offsetof(struct iocb, u.saddr.len), VALUE(32, WORD));
SAME(sizeof(struct io_event), 32);
SAME(offsetof(struct io_event, data), VALUE(0, WORD));
SAME(offsetof(struct io_event, obj), VALUE(8, WORD));
SAME(offsetof(struct io_event, res), VALUE(16, WORD));
SAME(offsetof(struct io_event, res2), VALUE(24, WORD));
SAME(sizeof(unsigned long), WORD);
SAME(sizeof(struct io_sigset), 2 * WORD);
