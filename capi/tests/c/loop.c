/*
 * The loop that every program on libaio has at its heart, on two libraries in turns: fill,
 * io_submit, io_getevents, on /dev/zero, where only the calls cost anything. Prints a row of
 * Markdown for each size of batch: processor time of an operation on either, medians, and the
 * median of the pairs' ratios.
 *   loop THEIRS OURS [PAIRS]
 */
#define _GNU_SOURCE
#include <libaio.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "check.h"

enum { MOST = 32, OPERATIONS = 64000, BYTES = 512 };

struct library {
	int (*setup)(int, io_context_t *);
	int (*submit)(io_context_t, long, struct iocb **);
	int (*getevents)(io_context_t, long, long, struct io_event *, struct timespec *);
	io_context_t ctx;
};

static int zeroes;

static void bind(void *handle, const char *name, void *function)
{
	void *symbol = dlsym(handle, name);

	CHECK(symbol != NULL);
	memcpy(function, &symbol, sizeof(symbol));
}

static struct library load(const char *path)
{
	struct library library;
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (handle == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	bind(handle, "io_setup", &library.setup);
	bind(handle, "io_submit", &library.submit);
	bind(handle, "io_getevents", &library.getevents);
	library.ctx = NULL;
	CHECK(library.setup(MOST, &library.ctx) == 0);
	return library;
}

/* Nanoseconds of processor time for an operation. */
static double measure(const struct library *library, int batch)
{
	static char buffers[MOST][BYTES];
	struct iocb operations[MOST], *list[MOST];
	struct io_event events[MOST];
	struct timespec start, end;
	int done, i;

	for (i = 0; i < batch; i++)
		list[i] = &operations[i];
	CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start) == 0);
	for (done = 0; done < OPERATIONS; done += batch) {
		for (i = 0; i < batch; i++)
			io_prep_pread(&operations[i], zeroes, buffers[i], BYTES, 0);
		CHECK(library->submit(library->ctx, batch, list) == batch);
		CHECK(library->getevents(library->ctx, batch, batch, events, NULL) == batch);
		for (i = 0; i < batch; i++)
			CHECK(events[i].res == BYTES);
	}
	CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end) == 0);
	return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
		OPERATIONS;
}

static int by_size(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

static double median(double *values, int count)
{
	qsort(values, (size_t)count, sizeof(*values), by_size);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

int main(int argc, char **argv)
{
	static const int batches[] = { 1, 8, 32 };
	double theirs[1000], ours[1000], ratios[1000];
	struct library their, our;
	int pairs, pair;
	size_t i;

	CHECK(argc >= 3);
	pairs = argc > 3 ? atoi(argv[3]) : 51;
	CHECK(pairs > 0 && pairs <= 1000);
	zeroes = open("/dev/zero", O_RDONLY);
	CHECK(zeroes >= 0);
	their = load(argv[1]);
	our = load(argv[2]);
	for (i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		for (pair = 0; pair < pairs; pair++) {
			/* Who goes first changes. */
			if (pair % 2)
				theirs[pair] = measure(&their, batches[i]);
			ours[pair] = measure(&our, batches[i]);
			if (pair % 2 == 0)
				theirs[pair] = measure(&their, batches[i]);
			ratios[pair] = ours[pair] / theirs[pair];
		}
		printf("| C loop, /dev/zero %d B, batch %d | %.0f ns | %.0f ns | %.3f |\n", BYTES, batches[i],
			median(theirs, pairs),
			median(ours, pairs), median(ratios, pairs));
		fflush(stdout);
	}
	return 0;
}
