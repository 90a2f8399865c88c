/* rpcload_long.c: "rpcload long": a pattern each way over each of many virtual connections at
 * once, every byte checked at both ends, while their channels are replaced again and again.
 *
 *   opened: BENCH_BEGIN -> room: pieces to the server, as windows and lifetime allow
 *                       -> received: pieces from the server, and its answer to our last one
 *   all done and settled -> the counts, one "name value" a line
 *
 * Slow ones (-S) consume what they receive only in proportion to what the others have received. So
 * they are far behind when the others have finished, on every machine, and neither waits for the
 * other.
 *
 * usage: rpcload long -u base64 -t server:port [-n virtual connections] [-S slow ones of
 *                     them] [-b bytes each way, each] [-l lifetime] [-w window] [-s (TLS)]
 *                     port of a proxy [port of another one ...]
 */
#include "rpcload_long.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rpcload.h"

/* A slow one lags behind the others by this part of its own share. */
#define SLOWNESS 8
#define SLOW_STEP 65536

typedef struct transfer transfer_t;

typedef struct run {
    load_t *load;
    proxy_t proxy;
    int count, slow;        /* virtual connections */
    uint64_t bytes;         /* each way, of each */
    transfer_t *transfers;
    uint64_t fast_got, slow_step; /* bytes the others have received; when to look next */
    int fast_done, all_done;
    int finished, slow_finished;
    uint64_t slow_left;     /* what the slow ones lacked when the others were done */
} run_t;

struct transfer {
    run_t *run;
    vc_t *vc;
    int is_slow;
    bench_pattern_t to_server, from_server;
    int answered;           /* the server has got all and said so */
    int finished;
    uint64_t consumed;      /* slow */
};

/* ---- sending ---- */

static void send_begin(transfer_t *t)
{
    uint8_t pdu[BENCH_HEADER + 16];

    bench_pdu(pdu, DCERPC_REQUEST, BENCH_BEGIN, sizeof(pdu));
    bench_put_u64(pdu + BENCH_HEADER, t->to_server.seed);
    bench_put_u64(pdu + BENCH_HEADER + 8, t->to_server.size);
    vc_send(t->vc, pdu, sizeof(pdu));
}

static void send_pieces(transfer_t *t)
{
    bench_pattern_t *p = &t->to_server;
    uint8_t pdu[BENCH_PIECE_MAX];
    uint32_t size;

    while ((size = bench_pattern_next(p)) != 0 && vc_may_send(t->vc, size)) {
        bench_pattern_make(p, pdu + BENCH_HEADER, size - BENCH_HEADER);
        bench_pdu(pdu, DCERPC_REQUEST, p->at < p->size ? BENCH_PATTERN : BENCH_PATTERN_END,
                  (uint16_t)size);
        vc_send(t->vc, pdu, size);
    }
}

/* ---- slow ones ---- */

static void consume(transfer_t *t)
{
    const run_t *run = t->run;
    double all = (double)run->bytes * (run->count - run->slow);
    double share = (double)run->bytes / SLOWNESS;
    uint64_t may = run->fast_done ? UINT64_MAX : (uint64_t)((double)run->fast_got / all * share);

    /* Not in small bits: each would be acknowledged, and fill the IN channel (3.2.1.1.5). */
    if (may >= t->consumed + run->load->window / 8)
        t->consumed += vc_consume(t->vc, may - t->consumed);
}

/* The others have made progress, so the slow ones may continue. */
static void serve_slow(run_t *run)
{
    int i;

    run->slow_step = run->fast_got + SLOW_STEP;
    for (i = 0; i < run->slow; i++) {
        transfer_t *t = &run->transfers[i];

        if (!t->vc)
            continue;
        consume(t);
        vc_kick(t->vc);
    }
}

static void fast_are_done(run_t *run)
{
    int i;

    run->fast_done = 1;
    for (i = 0; i < run->slow; i++)
        run->slow_left += run->bytes - run->transfers[i].from_server.at;
    serve_slow(run);
}

/* ---- events ---- */

static void opened(vc_t *vc)
{
    transfer_t *t = vc_ctx(vc);

    if (t->is_slow)
        vc_hold(vc);
    send_begin(t);
}

static void take_answer(transfer_t *t, const uint8_t *pdu, uint32_t size)
{
    if (size != BENCH_HEADER + 16 || t->answered)
        bench_die("a wrong answer");
    if (bench_get_u64(pdu + BENCH_HEADER) != t->to_server.size
        || t->to_server.at != t->to_server.size
        || bench_get_u64(pdu + BENCH_HEADER + 8) != t->to_server.hash)
        bench_die("the server has not got what was sent");
    t->answered = 1;
}

static void wrong_bytes(const transfer_t *t, uint32_t size)
{
    char text[256];

    vc_describe(t->vc, text, sizeof(text));
    bench_die("other bytes than the server should have sent: at %lu of %lu, PDU of %u where %u was "
              "due: %s",
              (unsigned long)t->from_server.at, (unsigned long)t->from_server.size, size,
              bench_pattern_next(&t->from_server), text);
}

static void received(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    transfer_t *t = vc_ctx(vc);
    run_t *run = t->run;

    if (bench_op(pdu) == BENCH_PATTERN_END) {
        take_answer(t, pdu, size);
        return;
    }
    if (bench_op(pdu) != BENCH_PATTERN || size != bench_pattern_next(&t->from_server)
        || !bench_pattern_check(&t->from_server, pdu + BENCH_HEADER, size - BENCH_HEADER))
        wrong_bytes(t, size);
    if (t->is_slow) {
        consume(t);
        return;
    }
    run->fast_got += size - BENCH_HEADER;
    if (run->slow && run->fast_got >= run->slow_step)
        serve_slow(run);
}

static void room(vc_t *vc)
{
    transfer_t *t = vc_ctx(vc);
    run_t *run = t->run;

    send_pieces(t);
    if (t->finished || !t->answered || t->from_server.at < t->from_server.size || !vc_settled(vc))
        return;
    t->finished = 1;
    run->finished++;
    run->slow_finished += t->is_slow;
    run->all_done = run->finished == run->count;
    if (!run->fast_done && run->finished - run->slow_finished == run->count - run->slow)
        fast_are_done(run);
}

/* ---- the report ---- */

static void report(const run_t *run)
{
    vc_counts_t all = { 0 };
    uint64_t in = 0, out = 0;
    int i;

    for (i = 0; i < run->count; i++) {
        const transfer_t *t = &run->transfers[i];
        const vc_counts_t *counts = vc_counts(t->vc);

        in += t->to_server.at;
        out += t->from_server.at;
        all.in_r1 += counts->in_r1;
        all.in_r2 += counts->in_r2;
        all.out_r1 += counts->out_r1;
        all.out_r2 += counts->out_r2;
    }
    printf("virtual_connections %d\nended_early 0\nbytes_in %lu\nbytes_out %lu\nbytes_ok 1\n",
           run->count, (unsigned long)in, (unsigned long)out);
    printf("IN_R1 %u\nIN_R2 %u\nOUT_R1 %u\nOUT_R2 %u\nrequests %u\nslow_behind %lu\n", all.in_r1,
           all.in_r2, all.out_r1, all.out_r2, run->load->requests, (unsigned long)run->slow_left);
}

static void stalled(void *ctx)
{
    const run_t *run = ctx;
    char text[256];
    int i;

    for (i = 0; i < run->count; i++) {
        const transfer_t *t = &run->transfers[i];

        vc_describe(t->vc, text, sizeof(text));
        fprintf(stderr, "%d%s: sent %lu%s, got %lu of %lu: %s\n", i, t->is_slow ? " (slow)" : "",
                (unsigned long)t->to_server.at, t->answered ? " and answered" : "",
                (unsigned long)t->from_server.at, (unsigned long)run->bytes, text);
    }
}

/* ---- main ---- */

static void work(run_t *run)
{
    static const vc_events_t events = { opened, received, room, NULL };
    int i;

    run->transfers = calloc((size_t)run->count, sizeof(*run->transfers));
    if (!run->transfers)
        bench_die("out of memory");
    for (i = 0; i < run->count; i++) {
        transfer_t *t = &run->transfers[i];
        uint64_t seed = (uint64_t)(i + 1) << 32;

        t->run = run;
        t->is_slow = i < run->slow;
        t->to_server = (bench_pattern_t){ .seed = seed, .size = run->bytes };
        t->from_server = (bench_pattern_t){ .seed = ~seed, .size = run->bytes };
        t->vc = vc_open(run->load, &run->proxy, &events, t);
        /* Some early enough to go on sending meanwhile, some in the last moment. */
        if (i % 2)
            vc_near_end(t->vc, run->load->lifetime / 4);
        if (i % 3 == 0)
            vc_reorder(t->vc);
    }
    load_run(run->load, &run->all_done, "long transfers");
    report(run);
    for (i = 0; i < run->count; i++)
        vc_close(run->transfers[i].vc);
    free(run->transfers);
}

int rpcload_long(int argc, char **argv)
{
    run_t run = { .count = 50, .bytes = 1 << 20, .proxy = { .name = "proxy", .speaks_http = 1 } };
    uint32_t lifetime = LOAD_LIFETIME, window = BENCH_WINDOW;
    const char *auth = "", *target = "";
    int opt;

    while ((opt = getopt(argc, argv, "u:t:n:S:b:l:w:s")) != -1) {
        switch (opt) {
        case 'u': auth = optarg; break;
        case 't': target = optarg; break;
        case 'n': run.count = atoi(optarg); break;
        case 'S': run.slow = atoi(optarg); break;
        case 'b': run.bytes = strtoull(optarg, NULL, 10); break;
        case 'l': lifetime = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'w': window = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 's': run.proxy.tls = 1; break;
        default: bench_die("usage: see the top of rpcload_long.c");
        }
    }
    for (; optind < argc && run.proxy.port_count < PROXY_MAX_PORTS; optind++)
        run.proxy.ports[run.proxy.port_count++] = (uint16_t)atoi(argv[optind]);
    if (optind < argc || !run.proxy.port_count || run.count <= run.slow || run.slow < 0
        || !run.bytes)
        bench_die("usage: see the top of rpcload_long.c");
    run.load = load_create(auth, target);
    run.load->lifetime = lifetime;
    run.load->window = window;
    run.load->stalled = stalled;
    run.load->stalled_ctx = &run;
    work(&run);
    load_destroy(run.load);
    return 0;
}
