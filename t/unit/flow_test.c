/* flow_test: windows and acknowledgements, by numbers and by simulation. */
#include "wire/flow.h"

#include "unit.h"

#define WRAP ((uint64_t)1 << 32)

static void test_worked_example(void)
{
    rpc_flow_sender_t s;
    rpc_flow_receiver_t r;
    uint32_t received, available;

    rpc_flow_sender_start(&s, 1000);
    rpc_flow_receiver_start(&r, 1000);
    rpc_flow_sent(&s, 250);
    rpc_flow_received(&r, 250);
    ok(s.available == 750 && s.sent == 250, "250 sent: sender 750 / 250");
    ok(r.free == 750 && r.received == 250, "250 queued: receiver 750 / 250");
    rpc_flow_consumed(&r, 100);
    rpc_flow_ack(&r, &received, &available);
    ok(received == 250 && available == 850, "100 consumed: ack(250, 850)");
    rpc_flow_sent(&s, 500);
    ok(s.available == 250 && s.sent == 750, "500 sent before the ack comes: 250 / 750");
    is_int(rpc_flow_acked(&s, received, available), 0, "the ack is possible");
    ok(s.available == 350 && s.sent == 750, "the ack: 350 / 750");
    rpc_flow_received(&r, 500);
    ok(r.free == 350 && r.received == 750, "the 500 arrive: 350 / 750");
    rpc_flow_consumed(&r, 200);
    rpc_flow_ack(&r, &received, &available);
    ok(received == 750 && available == 550, "200 consumed: ack(750, 550)");
    rpc_flow_acked(&s, received, available);
    is_int(s.available, 550, "sender 550");
    rpc_flow_consumed(&r, 450);
    rpc_flow_ack(&r, &received, &available);
    rpc_flow_acked(&s, received, available);
    ok(received == 750 && available == 1000, "the rest consumed: ack(750, 1000)");
    ok(s.available == 1000 && r.free == 1000 && r.advertised == 1000, "all is free again");
    is_int(s.clamped, 0, "nothing was clamped");
}

static void test_may_send(void)
{
    rpc_flow_sender_t s;

    rpc_flow_sender_start(&s, 1000);
    ok(rpc_flow_may_send(&s, 999), "a PDU smaller than what is available may go");
    ok(rpc_flow_may_send(&s, 1000), "one of just that size too");
    ok(!rpc_flow_may_send(&s, 1001), "a larger one may not");
    ok(rpc_flow_fits(&s, 1000) && !rpc_flow_fits(&s, 1001), "and never fits");
    rpc_flow_sent(&s, 600);
    ok(!rpc_flow_may_send(&s, 401) && rpc_flow_fits(&s, 401), "what must wait fits later");
    rpc_flow_sent(&s, 400);
    ok(rpc_flow_may_send(&s, 0) && !rpc_flow_may_send(&s, 1), "nothing available");
    ok(!rpc_flow_may_send(&s, UINT32_MAX), "4 GiB less 1 may not go");
    rpc_flow_sent(&s, 50);
    ok(!rpc_flow_may_send(&s, 0) && !rpc_flow_may_send(&s, UINT32_MAX),
       "nor with less than nothing");
}

static void test_clamps(void)
{
    rpc_flow_sender_t s;

    rpc_flow_sender_start(&s, 65536);
    rpc_flow_sent(&s, 10000);
    is_int(rpc_flow_acked(&s, 10000, 262144), 1, "an ack of more than the window is clamped");
    is_int(s.available, 65536, "to the window");
    rpc_flow_sent(&s, 20000);
    is_int(rpc_flow_acked(&s, 10000, 10000), 1, "less than what is under way is clamped");
    is_int(s.available, 0, "to 0");
    is_int(rpc_flow_acked(&s, 10000, 20000), 0, "exactly what is under way is possible");
    is_int(s.available, 0, "and leaves 0");
    is_int(rpc_flow_acked(&s, 31000, 40000), 1, "more received than was sent is clamped");
    ok(s.available >= 40000 && s.available <= 65536, "but is no reason to stop");
    is_int(rpc_flow_acked(&s, 30000, UINT32_MAX), 1, "4 GiB less 1 available is clamped");
    is_int(s.available, 65536, "to the window");
    is_int(s.clamped, 4, "the clamped ones are counted");
    is_int(rpc_flow_acked(&s, 30000, 65536), 0, "a right one sets all right");
    rpc_flow_sender_start(&s, 1);
    ok(s.clamped == 0 && s.sent == 0 && s.available == 1, "a new start forgets");
}

/* A peer that does not count some PDUs is behind for ever, and is still served. */
static void test_lag(void)
{
    rpc_flow_sender_t s;
    int i, wrong = 0;

    rpc_flow_sender_start(&s, 65536);
    rpc_flow_sent(&s, 300);
    for (i = 1; i <= 100000; i++) {
        wrong += !rpc_flow_may_send(&s, 5840);
        rpc_flow_sent(&s, 5840);
        wrong += rpc_flow_acked(&s, (uint32_t)i * 5840, 65536);
    }
    is_int(wrong, 0, "a lag of 300 bytes does no harm");
    is_int(s.available, 65536 - 300, "and costs 300 bytes of the window");
}

static void test_wrap(void)
{
    rpc_flow_sender_t s;
    rpc_flow_receiver_t r;
    uint32_t received, available;

    rpc_flow_sender_start(&s, 65536);
    rpc_flow_receiver_start(&r, 65536);
    s.sent = r.received = WRAP - 100;
    rpc_flow_sent(&s, 40000);
    rpc_flow_received(&r, 40000);
    ok(rpc_flow_consumed(&r, 40000), "an ack is due across 2^32");
    rpc_flow_ack(&r, &received, &available);
    is_int(received, 39900, "its count has wrapped");
    rpc_flow_sent(&s, 500);
    is_int(rpc_flow_acked(&s, received, available), 0, "the ack is possible");
    is_int(s.available, 65036, "less what is under way");
    s.sent = WRAP + 50;
    is_int(rpc_flow_acked(&s, (uint32_t)(WRAP - 50), 65536), 0,
           "sent has wrapped, received has not");
    is_int(s.available, 65436, "100 bytes are under way");
    s.sent = 5 * WRAP;
    is_int(rpc_flow_acked(&s, 0, 65536), 0, "many times round");
    is_int(s.available, 65536, "all available");
    is_int(rpc_flow_acked(&s, UINT32_MAX, 65536), 0, "one byte before");
    is_int(s.available, 65535, "one byte under way");
}

/* Recycling in place: the leg stays, its cookie changes. */
static void test_mark(void)
{
    rpc_flow_sender_t s;

    rpc_flow_sender_start(&s, 65536);
    s.sent = 1000000000;
    rpc_flow_sender_mark(&s);
    rpc_flow_sent(&s, 3000);
    is_int(rpc_flow_acked(&s, 1000000000, 65536), 0, "a late ack of the old cookie");
    is_int(s.available, 62536, "counts on");
    is_int(rpc_flow_acked(&s, 1000, 65536), 0, "an ack that counts from 0");
    is_int(s.available, 63536, "is a new base");
    is_int((long long)s.sent, 3000, "for what was sent since, too");
    is_int(rpc_flow_acked(&s, 3000, 65536), 0, "and the next");
    is_int(s.available, 65536, "belongs to it");

    s.sent = 1000000000;
    rpc_flow_sender_mark(&s);
    rpc_flow_sent(&s, 3000);
    is_int(rpc_flow_acked(&s, 1000001000, 65536), 0, "a peer that counts on");
    is_int(s.available, 63536, "is understood as well");
    is_int(rpc_flow_acked(&s, 500000000, 65536), 1, "an ack that is neither is clamped");
}

static void test_receiver(void)
{
    rpc_flow_receiver_t r;
    uint32_t received, available;

    rpc_flow_receiver_start(&r, 1000);
    rpc_flow_fragment(&r, 100);
    is_int(rpc_flow_received(&r, 400), 0, "some of the window comes");
    is_int(rpc_flow_received(&r, 100), 0, "half of it");
    is_int(rpc_flow_consumed(&r, 500), 0, "at just half no ack is due");
    is_int(rpc_flow_received(&r, 1), 0, "one byte more");
    is_int(rpc_flow_consumed(&r, 1), 1, "below half one is");
    rpc_flow_ack(&r, &received, &available);
    ok(received == 501 && available == 1000 && r.advertised == r.free, "it tells all");
    is_int(rpc_flow_consumed(&r, 0), 0, "no other is due");

    rpc_flow_receiver_start(&r, 1000);
    is_int(rpc_flow_received(&r, 1000), 0, "all of the window is no overrun");
    is_int(rpc_flow_received(&r, 1), 1, "a byte beyond is");
    is_int(rpc_flow_received(&r, 999), 1, "and stays one");
    is_int(rpc_flow_consumed(&r, 1000), 0, "nothing free: an ack would say nothing");
    rpc_flow_ack(&r, &received, &available);
    ok(received == 2000 && available == 0, "if sent all the same it says 0, not less");
    is_int(rpc_flow_consumed(&r, 249), 0, "249 bytes free: an ack for each PDU would be too many");
    is_int(rpc_flow_consumed(&r, 1), 1, "a quarter of the window is worth one");
    rpc_flow_ack(&r, &received, &available);
    ok(received == 2000 && available == 250 && r.advertised == r.free, "of 250 bytes");
    is_int(rpc_flow_consumed(&r, 650), 1, "below the half, and a quarter and more came free");
    rpc_flow_ack(&r, &received, &available);
    rpc_flow_received(&r, 500);
    is_int(rpc_flow_consumed(&r, 240), 0, "below the half, and less");
    is_int(rpc_flow_consumed(&r, 360), 1, "when all is consumed one is due");
    rpc_flow_ack(&r, &received, &available);
    is_int(available, 1000, "all free again");
}

/* ---- two ends, with data and acks under way for a while ---- */

#define UNDER_WAY 64

typedef struct ack { uint32_t received, available; } ack_t;

typedef struct link {
    rpc_flow_sender_t s;
    rpc_flow_receiver_t r;
    uint32_t data[UNDER_WAY], held[4096];
    ack_t acks[UNDER_WAY];
    int data_count, held_count, ack_count;
    uint32_t next;          /* size of the PDU to be sent next ... */
    uint32_t largest;       /* ... at most this */
    int even;               /* all are just as large */
    uint64_t delivered;
    int overruns, clamped;
    unsigned seed;
} link_t;

static uint32_t pdu_size(link_t *l)
{
    if (l->even)
        return l->largest;
    return unit_random(&l->seed) % 3 ? 16 + unit_random(&l->seed) % (l->largest - 15) : l->largest;
}

static uint32_t shift(uint32_t *queue, int *count)
{
    uint32_t first = queue[0];

    memmove(queue, queue + 1, (size_t)--*count * sizeof(*queue));
    return first;
}

static int step_send(link_t *l)
{
    if (l->data_count == UNDER_WAY || !rpc_flow_may_send(&l->s, l->next))
        return 0;
    rpc_flow_sent(&l->s, l->next);
    l->data[l->data_count++] = l->next;
    l->next = pdu_size(l);
    return 1;
}

static int step_arrive(link_t *l)
{
    uint32_t size;

    if (!l->data_count)
        return 0;
    size = shift(l->data, &l->data_count);
    l->overruns += rpc_flow_received(&l->r, size);
    l->held[l->held_count++] = size;
    return 1;
}

static int step_consume(link_t *l)
{
    ack_t *ack = &l->acks[l->ack_count];
    uint32_t size;

    if (!l->held_count || l->ack_count == UNDER_WAY)
        return 0;
    size = shift(l->held, &l->held_count);
    l->delivered += size;
    if (rpc_flow_consumed(&l->r, size)) {
        rpc_flow_ack(&l->r, &ack->received, &ack->available);
        l->ack_count++;
    }
    return 1;
}

static int step_ack(link_t *l)
{
    ack_t ack = l->acks[0];

    if (!l->ack_count)
        return 0;
    memmove(l->acks, l->acks + 1, (size_t)--l->ack_count * sizeof(l->acks[0]));
    l->clamped += rpc_flow_acked(&l->s, ack.received, ack.available);
    return 1;
}

/* Does one of the four things that can happen, at random. Returns 0 when none of them can. */
static int step(link_t *l)
{
    int tries, which = (int)(unit_random(&l->seed) % 4);

    for (tries = 0; tries < 4; tries++, which = (which + 1) % 4) {
        if (which == 0 ? step_send(l) : which == 1 ? step_arrive(l)
            : which == 2 ? step_consume(l) : step_ack(l))
            return 1;
    }
    return 0;
}

static link_t *link_new(uint32_t window, uint32_t largest, uint64_t start, unsigned seed)
{
    link_t *l = calloc(1, sizeof(*l));

    rpc_flow_sender_start(&l->s, window);
    rpc_flow_receiver_start(&l->r, window);
    l->s.sent = l->r.received = start;
    l->seed = seed;
    l->largest = largest;
    l->next = pdu_size(l);
    return l;
}

static void test_simulation(uint32_t window, uint64_t start, unsigned seed)
{
    link_t *l = link_new(window, window / 2, start, seed);
    int i, stuck = 0;

    for (i = 0; i < 100000 && !stuck; i++)
        stuck = !step(l);
    ok(!stuck && l->delivered > window, "window %u from %llx: it never stands still", window,
       (unsigned long long)start);
    is_int(l->overruns, 0, "the window is never overrun");
    is_int(l->clamped, 0, "no ack is impossible");
    free(l);
}

/* Any window, with any fragment that fits into it, whether a bind announces the size or not. */
static void test_any_fragment(void)
{
    static const uint32_t windows[] = { RPC_FLOW_WINDOW_MIN, 8193, 11679, 11680, 16384, 65535,
                                        65536,
                                        100000, 131070, 131072, RPC_FLOW_WINDOW_MAX };
    static const uint32_t fragments[] = { 16, 1432, 4088, 4096, 4097, 4280, 5840, 8192, 30000,
                                          32769, 65535 };
    unsigned w, f, announced, seed = 1;

    for (w = 0; w < sizeof(windows) / sizeof(windows[0]); w++) {
        unsigned stuck = 0, overruns = 0, links = 0;

        for (f = 0; f < sizeof(fragments) / sizeof(fragments[0]); f++) {
            for (announced = 0; announced < 2 && fragments[f] <= windows[w]; announced++) {
                link_t *l = link_new(windows[w], fragments[f], 0, seed++);
                int i = 0;

                if (announced)
                    rpc_flow_fragment(&l->r, fragments[f]);
                else if (fragments[f] > RPC_FLOW_FRAGMENT) {
                    l->even = 1;
                    l->next = fragments[f];
                }
                while (i < 5000 && step(l))
                    i++;
                stuck += i < 5000;
                overruns += (unsigned)(l->overruns + l->clamped);
                links++;
                free(l);
            }
        }
        ok(links && !stuck && !overruns, "window %u: of %u links, %u stand still, %u errors",
           windows[w], links, stuck, overruns);
    }
}

/* Acknowledgements that FreeRDP does not accept before its bind is answered, and that use up the
 * lifetime of an OUT channel. */
static void test_no_needless_acks(void)
{
    rpc_flow_receiver_t r;
    unsigned i, acks = 0;

    rpc_flow_receiver_start(&r, 65536);
    rpc_flow_fragment(&r, 5840);
    for (i = 0; i < 1000; i++) {
        uint32_t received, available;

        rpc_flow_received(&r, 1000);
        if (rpc_flow_consumed(&r, 1000)) {
            rpc_flow_ack(&r, &received, &available);
            acks++;
        }
    }
    is_int(acks, 1000 / 33, "a window of many fragments is acknowledged when half of it is used");
    rpc_flow_receiver_start(&r, 8192);
    rpc_flow_fragment(&r, 5840);
    rpc_flow_received(&r, 2352);
    is_int(rpc_flow_consumed(&r, 2352), 0, "while there is room for a fragment none is due");
    rpc_flow_received(&r, 1);
    is_int(rpc_flow_consumed(&r, 1), 1, "one is when there is not");
    rpc_flow_receiver_start(&r, 8192);
    rpc_flow_fragment(&r, 1000);
    rpc_flow_received(&r, 4000);
    is_int(r.fragment, 4000, "a fragment larger than announced is believed");
}

int main(void)
{
    test_worked_example();
    test_may_send();
    test_clamps();
    test_lag();
    test_wrap();
    test_mark();
    test_receiver();
    test_simulation(RPC_FLOW_WINDOW_MIN, 0, 6001);
    test_simulation(65536, 0, 6002);
    test_simulation(65536, WRAP - 1000000, 6004);
    test_simulation(RPC_FLOW_WINDOW_MAX, 3 * WRAP - 5, 593);
    test_any_fragment();
    test_no_needless_acks();
    return unit_done();
}
