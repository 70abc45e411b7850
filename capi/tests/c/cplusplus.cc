// A C++ program: the header compiles as C++, the functions link as C, and a lambda can be a callback.
#include <libaio.h>

#include <fcntl.h>
#include <unistd.h>

#include "check.h"

static int calls;

extern "C" {
static void count(io_context_t, struct iocb *, long res, long)
{
	CHECK(res == 16);
	calls++;
}
}

int main()
{
	io_context_t ctx = 0;
	int result = io_setup(8, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	CHECK(result == 0);

	char buffer[16];
	struct iocb operation;
	struct iocb *list[] = { &operation };
	int zeroes = open("/dev/zero", O_RDONLY);
	CHECK(zeroes >= 0);

	io_prep_pread(&operation, zeroes, buffer, sizeof(buffer), 0);
	io_set_callback(&operation, count);
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 1);
#if __cplusplus >= 201103L
	io_set_callback(&operation, [](io_context_t, struct iocb *, long, long) { calls += 10; });
	RETURNS(1, io_submit(ctx, 1, list));
	RETURNS(0, io_queue_run(ctx));
	CHECK(calls == 11);
#endif
	RETURNS(0, io_destroy(ctx));
	close(zeroes);
	return 0;
}
