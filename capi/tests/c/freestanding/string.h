/*
 * As much of a C library as libaio.h needs, to compile it for targets whose C library is not
 * installed.
 */
typedef __SIZE_TYPE__ size_t;
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
