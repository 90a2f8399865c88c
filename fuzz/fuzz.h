/* fuzz.h: what all fuzz targets share. A target is a function that gets any bytes and must
 * neither crash, nor leak, nor fail a MUST(). libFuzzer calls it in the fuzz build; replay.c
 * calls it for the inputs that are kept.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Holds in every build; the rest is a printf format for what was found. */
#define MUST(condition, ...) \
    do { \
        if (!(condition)) \
            fuzz_fail(__FILE__, __LINE__, #condition, __VA_ARGS__); \
    } while (0)

__attribute__((format(printf, 4, 5), noreturn))
static inline void fuzz_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "# %s:%d: must be: %s: ", file, line, what);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\n");
    abort();
}

/* A copy in memory of exactly this size, so that a sanitizer sees a read beyond it. */
static inline void *fuzz_copy(const void *from, size_t len)
{
    void *copy = malloc(len ? len : 1);

    MUST(copy, "out of memory");
    if (len)
        memcpy(copy, from, len);
    return copy;
}

/* A copy as a string; what follows a NUL is lost. */
static inline char *fuzz_text(const void *from, size_t len)
{
    char *text = malloc(len + 1);

    MUST(text, "out of memory");
    if (len)
        memcpy(text, from, len);
    text[len] = '\0';
    return text;
}

#endif
