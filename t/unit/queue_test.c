/* queue_test: the byte queue against a plain buffer, its chunks, and the PDU queue. */
#include "io/queue.h"

#include "unit.h"

/* A sanitizer would rather end the program than let malloc() say no. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
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
                 || (run && (len == 0 || memcmp(run, model + head, len) != 0));
        if (run) {
            len = unit_random(&seed) % 3 ? len : unit_random(&seed) % (len + 1);
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

static void test_pdus(void)
{
    rpc_pdus_t q = { 0 };

    rpc_pdus_drop(&q);
    ok(q.first == NULL, "dropping from an empty queue does nothing");
    rpc_pdus_put(&q, "one", 3, 1);
    rpc_pdus_put(&q, "second", 6, 0);
    rpc_pdus_put(&q, "third", 5, 1);
    is_int((long long)q.size, 14, "bytes of all PDUs");
    is_bytes(q.first->data, q.first->size, "one", 3, "first in");
    is_int(q.first->counted, 1, "an RPC PDU");
    rpc_pdus_drop(&q);
    is_bytes(q.first->data, q.first->size, "second", 6, "first out");
    is_int(q.first->counted, 0, "an RTS PDU");
    is_bytes(q.first->next->data, q.first->next->size, "third", 5, "the next can be seen");
    rpc_pdus_drop(&q);
    is_int((long long)q.size, 5, "bytes left");
    rpc_pdus_drop(&q);
    ok(q.first == NULL && q.last == NULL && q.size == 0, "empty");
    rpc_pdus_put(&q, "again", 5, 1);
    ok(q.first == q.last && q.size == 5, "and filled again");
    rpc_pdus_put(&q, "", 0, 1);
    rpc_pdus_clear(&q);
    ok(q.first == NULL && q.last == NULL && q.size == 0, "cleared");
}

int main(void)
{
    test_empty();
    test_chunks();
    test_model();
    test_no_memory();
    test_pdus();
    return unit_done();
}
