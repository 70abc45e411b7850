/* What the test programs share: checks that name themselves, and that errno is left alone. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* No errno has this value. */
#define UNTOUCHED 12345

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

/* The call returns `wanted`, and neither success nor failure touches errno. */
#define RETURNS(wanted, call) \
	do { \
		long result_, wanted_ = (long)(wanted); \
		errno = UNTOUCHED; \
		result_ = (long)(call); \
		if (result_ != wanted_ || errno != UNTOUCHED) { \
			fprintf(stderr, "%s:%d: %s gave %ld with errno %d, wanted %ld with errno %d\n", __FILE__, \
				__LINE__, #call, result_, errno, wanted_, UNTOUCHED); \
			exit(1); \
		} \
	} while (0)

/* Ends the program as one that could not test; check.sh prints the reason. */
#define SKIP(reason) \
	do { \
		printf("%s\n", reason); \
		exit(77); \
	} while (0)

#endif
