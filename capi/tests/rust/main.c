/* One program, two Rust libraries: both work, and neither's symbols get in the other's way. */
#include <libaio.h>

#include "../c/check.h"

extern int other_digit_sum(const char *text, size_t length);

int main(void)
{
	io_context_t ctx = NULL;
	int result = io_setup(8, &ctx);

	if (result == -ENOSYS || result == -EPERM)
		SKIP("this kernel or container has no AIO");
	CHECK(result == 0);
	CHECK(other_digit_sum("1234", 4) == 10);
	CHECK(other_digit_sum("12x4", 4) == -1);
	RETURNS(0, io_destroy(ctx));
	return 0;
}
