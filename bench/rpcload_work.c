/* rpcload_work.c: one virtual connection at work: ping-pong, bulk IN, bulk OUT; and the probe,
 * which tells how long an echo takes while the proxy is busy with others.
 *
 *   work_begin -> the measured part -> vc_close. CPU time is taken of the measured part only.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rpcload_measure.h"
#include "rpcload_process.h"

#define PING_SIZE 100
#define BULK_SIZE BENCH_PIECE_MAX
#define WARM_UP 200
#define PROBES_MAX 1000000
#define PROBE_PAUSE_MS 1

typedef struct work {
    load_t *load;
    const proxy_t *proxy;
    vc_t *vc;
    int open, done;
    uint8_t pdu[BULK_SIZE];
    int pings, pinged;          /* ping-pong */
    double sent_at, *times;
    uint64_t bytes, moved;      /* bulk */
} work_t;

static void work_opened(vc_t *vc)
{
    work_t *w = vc_ctx(vc);
    uint8_t bind[BENCH_BIND_SIZE];

    vc_send(vc, bind, (uint32_t)bench_bind(bind));
    w->open = 1;
}

static void work_begin(work_t *w, const plan_t *plan, const vc_events_t *events)
{
    memset(w, 0, sizeof(*w));
    w->load = plan->load;
    w->proxy = &plan->proxy;
    w->vc = vc_open(w->load, w->proxy, events, w);
    load_run(w->load, &w->open, "opening a virtual connection");
}

/* ---- ping-pong ---- */

static void ping(work_t *w)
{
    bench_put_u64(w->pdu + BENCH_HEADER, (uint64_t)w->pinged);
    w->sent_at = bench_now();
    vc_send(w->vc, w->pdu, PING_SIZE);
}

static void pong(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    work_t *w = vc_ctx(vc);

    if (size != PING_SIZE || bench_get_u64(pdu + BENCH_HEADER) != (uint64_t)w->pinged)
        bench_die("%s: a wrong echo", w->proxy->name);
    w->times[w->pinged] = bench_now() - w->sent_at;
    if (++w->pinged == w->pings)
        w->done = 1;
    else
        ping(w);
}

/* Up to the echo number PINGS. */
static void run_pings(work_t *w, int pings)
{
    w->done = 0;
    w->pings = pings;
    ping(w);
    vc_kick(w->vc);
    load_run(w->load, &w->done, "ping-pong");
}

static void begin_pings(work_t *w, const plan_t *plan, int most)
{
    static const vc_events_t events = { work_opened, pong, NULL, NULL };

    work_begin(w, plan, &events);
    w->times = calloc((size_t)(most > WARM_UP ? most : WARM_UP), sizeof(double));
    if (!w->times)
        bench_die("out of memory");
    bench_pdu(w->pdu, DCERPC_REQUEST, BENCH_ECHO, PING_SIZE);
    run_pings(w, WARM_UP);
    w->pinged = 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double quantile(const double *sorted, int n, double q)
{
    return sorted[(int)((n - 1) * q + 0.5)];
}

void measure_ping(const plan_t *plan)
{
    work_t w;
    double cpu;

    begin_pings(&w, plan, plan->count);
    cpu = process_cpu(plan->proxy.pid);
    run_pings(&w, plan->count);
    print_value("ping_cpu", (process_cpu(plan->proxy.pid) - cpu) / plan->count * 1e6);
    qsort(w.times, (size_t)plan->count, sizeof(double), by_value);
    print_value("ping_p50", quantile(w.times, plan->count, 0.50) * 1e6);
    print_value("ping_p99", quantile(w.times, plan->count, 0.99) * 1e6);
    free(w.times);
    vc_close(w.vc);
}

static int told_to_stop(void)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

    return poll(&input, 1, PROBE_PAUSE_MS) > 0;
}

void measure_probe(const plan_t *plan)
{
    work_t w;

    begin_pings(&w, plan, PROBES_MAX);
    print_value("ready", 1);
    while (!told_to_stop() && w.pinged < PROBES_MAX)
        run_pings(&w, w.pinged + 1);
    qsort(w.times, (size_t)w.pinged, sizeof(double), by_value);
    print_value("echoes", w.pinged);
    print_value("echo_p50", quantile(w.times, w.pinged, 0.50) * 1e3);
    print_value("echo_p99", quantile(w.times, w.pinged, 0.99) * 1e3);
    print_value("echo_max", quantile(w.times, w.pinged, 1) * 1e3);
    free(w.times);
    vc_close(w.vc);
}

/* ---- bulk ---- */

/* IN: sends as many requests as there is room for; the last one asks for the sum. */
static void pour(vc_t *vc)
{
    work_t *w = vc_ctx(vc);

    while (w->moved < w->bytes && vc_may_send(vc, BULK_SIZE)) {
        w->moved += BULK_SIZE;
        bench_pdu(w->pdu, DCERPC_REQUEST, w->moved < w->bytes ? BENCH_SINK : BENCH_SINK_END,
                  BULK_SIZE);
        vc_send(vc, w->pdu, BULK_SIZE);
    }
}

static void poured(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    work_t *w = vc_ctx(vc);

    if (size != BENCH_HEADER + 8 || bench_get_u64(pdu + BENCH_HEADER) != w->moved)
        bench_die("%s: the server has not got what was sent", w->proxy->name);
    w->done = 1;
}

/* OUT: counts the bytes that come. */
static void drunk(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    work_t *w = vc_ctx(vc);

    (void)pdu;
    w->moved += size;
    if (w->moved > w->bytes)
        bench_die("%s: more than was asked for", w->proxy->name);
    w->done = w->moved == w->bytes;
}

/* Whole PDUs. */
static uint64_t bulk(const plan_t *plan)
{
    return (uint64_t)plan->count * 1000000 / BULK_SIZE * BULK_SIZE;
}

static void run_bulk(work_t *w, const char *speed, const char *cpu)
{
    double start = bench_now(), cpu_start = process_cpu(w->proxy->pid);

    vc_kick(w->vc);
    load_run(w->load, &w->done, "bulk transfer");
    start = bench_now() - start;
    print_value(cpu, (process_cpu(w->proxy->pid) - cpu_start) / ((double)w->moved / 1e9));
    print_value(speed, (double)w->moved / 1e6 / start);
    vc_close(w->vc);
}

void measure_in(const plan_t *plan)
{
    static const vc_events_t events = { work_opened, poured, pour, NULL };
    work_t w;

    work_begin(&w, plan, &events);
    w.bytes = bulk(plan);
    run_bulk(&w, "in_speed", "in_cpu");
}

void measure_out(const plan_t *plan)
{
    static const vc_events_t events = { work_opened, drunk, NULL, NULL };
    work_t w;

    work_begin(&w, plan, &events);
    w.bytes = bulk(plan);
    bench_pdu(w.pdu, DCERPC_REQUEST, BENCH_SOURCE, PING_SIZE);
    bench_put_u64(w.pdu + BENCH_HEADER, w.bytes);
    w.pdu[BENCH_HEADER + 8] = BULK_SIZE & 0xff;
    w.pdu[BENCH_HEADER + 9] = BULK_SIZE >> 8;
    vc_send(w.vc, w.pdu, PING_SIZE);
    run_bulk(&w, "out_speed", "out_cpu");
}
