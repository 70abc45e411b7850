typedef struct { unsigned long bits[128 / sizeof(unsigned long)]; } sigset_t;
