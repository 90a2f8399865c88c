/* queue_test: the byte queue compared with a plain buffer, and its chunks; the PDU queue compared
 * with an array, and the memory that it takes. */
#include "io/queue.h"

#include "unit.h"

/* A sanitizer would rather end the program than let malloc() say no. */
#define EXPORT __attribute__((visibility("default")))
EXPORT const char *__asan_default_options(void);
EXPORT const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static size_t run_of(const rpc_bytes_t *q)
{
    size_t len;

    return rpc_bytes_peek(q, &len) ? len : 0;
}

static void test_empty(void)
{
    rpc_bytes_t q = { 0 };
    size_t len = 99;

    ok(rpc_bytes_peek(&q, &len) == NULL && len == 0, "nothing to peek at");
    is_int(rpc_bytes_put(&q, NULL, 0), 0, "nothing can be put in");
    ok(q.first == NULL, "and takes no memory");
    rpc_bytes_drop(&q, 0);
    rpc_bytes_clear(&q);
    ok(q.first == NULL && q.last == NULL && q.size == 0, "still empty");
}

static void test_chunks(void)
{
    static uint8_t bytes[100000];
    rpc_bytes_t q = { 0 };

    rpc_bytes_put(&q, bytes, 76);
    rpc_bytes_put(&q, bytes, 1024 - 76 + 1);
    is_int((long long)run_of(&q), 1024, "a small PDU takes 1 KB, which is used up first");
    rpc_bytes_drop(&q, 1024);
    rpc_bytes_put(&q, bytes, 16384);
    is_int((long long)run_of(&q), 16384, "behind it are chunks of 16 KB");
    rpc_bytes_drop(&q, 16384);
    is_int((long long)run_of(&q), 1, "each full before the next begins");
    rpc_bytes_drop(&q, 1);
    ok(q.first == NULL && q.last == NULL && q.size == 0, "no memory when empty");

    rpc_bytes_put(&q, bytes, 65535);
    is_int((long long)run_of(&q), 65535, "a large PDU lies in one piece");
    rpc_bytes_put(&q, bytes, 50000);
    rpc_bytes_drop(&q, 65535);
    is_int((long long)run_of(&q), 50000, "and so does the next");
    rpc_bytes_clear(&q);
    ok(q.first == NULL && q.last == NULL && q.size == 0, "cleared");
}

/* What rpc_bytes_gather() shows is the head of the queue, in up to MAX pieces. */
static int shows(const rpc_bytes_t *q, const uint8_t *expected, int max)
{
    struct iovec pieces[16];
    int i, count = rpc_bytes_gather(q, pieces, max);

    for (i = 0; i < count; expected += pieces[i++].iov_len) {
        if (!pieces[i].iov_len || memcmp(pieces[i].iov_base, expected, pieces[i].iov_len) != 0)
            return -1;
    }
    return count;
}

static void test_gather(void)
{
    static uint8_t bytes[100000];
    rpc_bytes_t q = { 0 };
    unsigned seed = 7;
    size_t i;

    for (i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)unit_random(&seed);
    is_int(shows(&q, bytes, 16), 0, "an empty queue has no pieces");
    rpc_bytes_put(&q, bytes, 100);
    is_int(shows(&q, bytes, 16), 1, "100 bytes are one piece");
    for (i = 100; i < sizeof(bytes); i += 900)
        rpc_bytes_put(&q, bytes + i, 900);
    is_int(shows(&q, bytes, 16), 8, "100,000 bytes lie in 8 chunks, all shown at once");
    is_int(shows(&q, bytes, 3), 3, "or as many as are wanted");
    rpc_bytes_drop(&q, 50000);
    is_int(shows(&q, bytes + 50000, 16), 5,
           "what was taken may be several pieces and a part of one");
    rpc_bytes_drop(&q, 50000);
    ok(q.first == NULL && q.last == NULL && q.size == 0, "or all");
}

static void test_model(void)
{
    uint8_t *model = malloc(1 << 20), bytes[70000];
    unsigned seed = 4096, round;
    size_t head = 0, tail = 0, i;
    rpc_bytes_t q = { 0 };
    int wrong = 0;

    for (i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)unit_random(&seed);
    for (round = 0; round < 50000; round++) {
        size_t len, want = unit_random(&seed) % 8 ? unit_random(&seed) % 200
                                                  : unit_random(&seed) % sizeof(bytes);
        const uint8_t *run;

        if (tail + want < 1 << 20 && unit_random(&seed) % 2) {
            size_t from = unit_random(&seed) % (sizeof(bytes) - want);

            wrong += rpc_bytes_put(&q, bytes + from, want) != 0;
            memcpy(model + tail, bytes + from, want);
            tail += want;
        }
        run = rpc_bytes_peek(&q, &len);
        wrong += q.size != tail - head || (run == NULL) != (head == tail) || len > tail - head
                 || (run && (len == 0 || memcmp(run, model + head, len) != 0))
                 || shows(&q, model + head, (int)(1 + round % 16)) < (run != NULL);
        if (run) {
            len = unit_random(&seed) % 3 ? len : unit_random(&seed) % (q.size + 1);
            rpc_bytes_drop(&q, len);
            head += len;
        }
        if (head == tail)
            head = tail = 0;
    }
    is_int(wrong, 0, "50,000 random puts and drops");
    rpc_bytes_clear(&q);
    free(model);
}

static void test_no_memory(void)
{
    rpc_bytes_t q = { 0 };
    volatile size_t too_much = PTRDIFF_MAX - 4096;
    size_t len;

    is_int(rpc_bytes_put(&q, "abc", too_much), -1, "no memory: refused");
    ok(q.first == NULL && q.size == 0, "and still empty");
    rpc_bytes_put(&q, "abc", 3);
    is_int(rpc_bytes_put(&q, "def", too_much), -1, "no memory behind something: refused");
    is_bytes(rpc_bytes_peek(&q, &len), run_of(&q), "abc", 3, "and nothing of it was queued");
    is_int((long long)q.size, 3, "nor counted");
    rpc_bytes_put(&q, "ghi", 3);
    is_bytes(rpc_bytes_peek(&q, &len), run_of(&q), "abcghi", 6, "the queue goes on");
    rpc_bytes_clear(&q);
}

static void is_first(const rpc_pdus_t *q, const char *text, int counted, const char *name)
{
    rpc_queued_pdu_t first = rpc_pdus_peek(q);

    is_bytes(first.data, first.size, text, strlen(text), "%s", name);
    is_int(first.counted, counted, counted ? "an RPC PDU" : "an RTS PDU");
}

static void test_pdus(void)
{
    rpc_pdus_t q = { 0 };

    rpc_pdus_drop(&q);
    ok(q.first == NULL, "dropping from an empty queue does nothing");
    rpc_pdus_put(&q, "one", 3, 1);
    rpc_pdus_put(&q, "second", 6, 0);
    rpc_pdus_put(&q, "third", 5, 1);
    is_int((long long)q.size, 14, "bytes of all PDUs");
    is_first(&q, "one", 1, "first in");
    rpc_pdus_drop(&q);
    is_first(&q, "second", 0, "first out");
    rpc_pdus_drop(&q);
    is_first(&q, "third", 1, "the last");
    is_int((long long)q.size, 5, "bytes left");
    rpc_pdus_drop(&q);
    ok(q.first == NULL && q.last == NULL && q.size == 0, "empty");
    rpc_pdus_put(&q, "again", 5, 1);
    ok(q.first && q.size == 5, "and filled again");
    rpc_pdus_put(&q, "", 0, 1);
    rpc_pdus_clear(&q);
    ok(q.first == NULL && q.last == NULL && q.size == 0, "cleared");
}

/* Compares the queue with an array of sizes. Each PDU is filled with its number. */
static void test_pdus_model(void)
{
    static uint32_t sizes[20000];
    static uint8_t bytes[65535];
    unsigned seed = 65535, put = 0, taken = 0, wrong = 0;
    size_t held = 0;
    rpc_pdus_t q = { 0 };

    while (put < 20000) {
        if (unit_random(&seed) % 5 < 3) {
            unsigned kind = unit_random(&seed) % 16;
            uint32_t size = kind == 0 ? 0x7ffe + unit_random(&seed) % 3 : kind == 1 ? 65535
                            : kind < 4 ? 5840 : 16 + unit_random(&seed) % 100;

            memset(bytes, (int)(put & 0xff), size);
            wrong += rpc_pdus_put(&q, bytes, size, put & 1) != 0;
            sizes[put++] = size;
            held += size;
        }
        else if (taken < put) {
            rpc_queued_pdu_t pdu = rpc_pdus_peek(&q);

            memset(bytes, (int)(taken & 0xff), sizes[taken]);
            wrong += pdu.size != sizes[taken] || pdu.counted != (int)(taken & 1)
                     || memcmp(pdu.data, bytes, pdu.size) != 0;
            held -= pdu.size;
            rpc_pdus_drop(&q);
            taken++;
        }
        wrong += q.size != held || (q.first == NULL) != (taken == put);
    }
    is_int(wrong, 0, "20,000 PDUs of all sizes come out as they went in");
    rpc_pdus_clear(&q);
}

#ifdef __GLIBC__
#include <malloc.h>

static size_t in_use(void)
{
    return mallinfo2().uordblks;
}

/* The memory that a window full of PDUs takes, in hundredths of the window. The PDUs have one
 * pattern of sizes. */
static long long share_of(size_t window, const uint32_t *sizes, unsigned count)
{
    static const uint8_t bytes[65535];
    size_t before = in_use(), used;
    rpc_pdus_t q = { 0 };
    unsigned i = 0;

    while (q.size + sizes[i % count] <= window)
        rpc_pdus_put(&q, bytes, sizes[i++ % count], 1);
    used = in_use() - before;
    rpc_pdus_clear(&q);
    return (long long)(used * 100 / window);
}

static void test_memory(void)
{
    static const uint32_t smallest[] = { 16 }, mixed[] = { 16, 5840 }, large[] = { 5840 };
    static const uint32_t odd[] = { 24, 4088, 300 };
    static const size_t windows[] = { 65536, 262144 };
    size_t i;

    if (share_of(65536, smallest, 1) == 0)
        return;     /* another malloc, a sanitizer's, which cannot be asked */
    for (i = 0; i < 2; i++) {
        size_t w = windows[i];

        ok(share_of(w, smallest, 1) <= 120, "a window of %zu full of PDUs of 16 bytes: %lld %%", w,
           share_of(w, smallest, 1));
        ok(share_of(w, large, 1) <= 120, "of 5,840 bytes: %lld %%", share_of(w, large, 1));
        ok(share_of(w, mixed, 2) <= 120, "of both in turn: %lld %%", share_of(w, mixed, 2));
        ok(share_of(w, odd, 3) <= 120, "of three sizes: %lld %%", share_of(w, odd, 3));
    }
}
#else
static void test_memory(void)
{
}
#endif

int main(void)
{
    test_empty();
    test_chunks();
    test_gather();
    test_model();
    test_no_memory();
    test_pdus();
    test_pdus_model();
    test_memory();
    return unit_done();
}
