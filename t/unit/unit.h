/* unit.h: what a test program in C needs to print TAP. Each check prints one line; a failure also
 * prints its place and the values. main() ends with "return unit_done();", which prints
 * the plan and gives the exit status.
 */
#ifndef UNIT_H
#define UNIT_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each takes the name of the check as a printf format with its arguments; each yields 1 when
 * it passed. */
#define ok(condition, ...) unit_ok(__FILE__, __LINE__, (condition) ? 1 : 0, __VA_ARGS__)
#define is_int(got, want, ...) unit_is_int(__FILE__, __LINE__, got, want, __VA_ARGS__)
#define is_str(got, want, ...) unit_is_str(__FILE__, __LINE__, got, want, __VA_ARGS__)
#define is_bytes(got, got_len, want, want_len, ...) \
    unit_is_bytes(__FILE__, __LINE__, got, got_len, want, want_len, __VA_ARGS__)

typedef struct unit_counts { int run, failed; } unit_counts_t;

static inline unit_counts_t *unit_counts(void)
{
    static unit_counts_t counts;

    return &counts;
}

static inline int unit_report(const char *file, int line, int pass, const char *fmt, va_list args)
{
    unit_counts_t *counts = unit_counts();

    counts->run++;
    counts->failed += !pass;
    printf("%sok %d - ", pass ? "" : "not ", counts->run);
    vprintf(fmt, args);
    printf("\n");
    if (!pass)
        printf("# failed at %s:%d\n", file, line);
    fflush(stdout);
    return pass;
}

__attribute__((format(printf, 4, 5)))
static inline int unit_ok(const char *file, int line, int pass, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    unit_report(file, line, pass, fmt, args);
    va_end(args);
    return pass;
}

__attribute__((format(printf, 5, 6)))
static inline int unit_is_int(const char *file, int line, long long got, long long want,
                              const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    unit_report(file, line, got == want, fmt, args);
    va_end(args);
    if (got != want)
        printf("# got %lld (0x%llx), wanted %lld (0x%llx)\n", got, (unsigned long long)got,
               want, (unsigned long long)want);
    return got == want;
}

/* NULL equals NULL only. */
__attribute__((format(printf, 5, 6)))
static inline int unit_is_str(const char *file, int line, const char *got, const char *want,
                              const char *fmt, ...)
{
    int pass = got && want ? strcmp(got, want) == 0 : got == want;
    va_list args;

    va_start(args, fmt);
    unit_report(file, line, pass, fmt, args);
    va_end(args);
    if (!pass)
        printf("# got \"%s\", wanted \"%s\"\n", got ? got : "(null)", want ? want : "(null)");
    return pass;
}

static inline void unit_dump(const char *what, const unsigned char *bytes, size_t len, size_t from)
{
    size_t start = from & ~(size_t)15, i;

    printf("# %s %zu bytes; at %zu:", what, len, start);
    for (i = start; i < len && i < start + 32; i++)
        printf(" %02x", bytes[i]);
    printf("\n");
}

/* Shows the lines around the first difference. */
__attribute__((format(printf, 7, 8)))
static inline int unit_is_bytes(const char *file, int line, const void *got, size_t got_len,
                                const void *want, size_t want_len, const char *fmt, ...)
{
    const unsigned char *a = got, *b = want;
    size_t same = 0;
    va_list args;
    int pass;

    while (same < got_len && same < want_len && a[same] == b[same])
        same++;
    pass = got_len == want_len && same == got_len;
    va_start(args, fmt);
    unit_report(file, line, pass, fmt, args);
    va_end(args);
    if (!pass) {
        printf("# differs at byte %zu\n", same);
        unit_dump("got", a, got_len, same);
        unit_dump("wanted", b, want_len, same);
    }
    return pass;
}

static inline int unit_done(void)
{
    unit_counts_t *counts = unit_counts();

    printf("1..%d\n", counts->run);
    if (counts->failed)
        printf("# %d of %d failed\n", counts->failed, counts->run);
    fflush(stdout);
    return counts->failed || !counts->run ? 1 : 0;
}

/* The same row of numbers in every run: xorshift, 32 bits. */
static inline unsigned unit_random(unsigned *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* A copy in memory of exactly this size, so that a sanitizer sees a read beyond it. */
static inline void *unit_copy(const void *from, size_t len)
{
    void *copy = malloc(len ? len : 1);

    if (!copy)
        abort();
    if (len)
        memcpy(copy, from, len);
    return copy;
}

#endif
