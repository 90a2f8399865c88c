/* rpcload.c: what the benchmark measures, and its table. (What "rpcload long" does is in
 * rpcload_long.c.)
 *
 *   idle     opens N virtual connections and proves each by one echo; then measures the proxy's
 *            process: threads, descriptors and PSS, less those that it had before
 *   rounds   of ping-pong, bulk IN and bulk OUT, through one proxy and the other in turns;
 *            prints the medians of the rounds, and of the ratios within a round
 *
 * The two may also be one httpd with two configurations, named with its two ports.
 *
 * usage: rpcload -u base64 -t server:port [-n idle] [-s seconds] [-r rounds] [-p pings]
 *                [-m MB] http:NAME:PORT:PID tcp:NAME:PORT:PID
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rpcload_long.h"
#include "rpcload.h"

#define PROXIES 2
#define OPENING 32          /* virtual connections being opened at a time */
#define MAX_ROUNDS 99
#define PING_SIZE 100
#define BULK_SIZE BENCH_PIECE_MAX
#define CLOSE_SECONDS 20
#define WARM_UP 200

typedef struct plan {
    int idle, hold, rounds, pings;  /* hold: seconds of idleness */
    uint64_t bulk;          /* bytes */
    proxy_t proxies[PROXIES];
} plan_t;

/* ---- looking at a process ---- */

static double seconds(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts) < 0)
        bench_die("no clock of the proxy's process");
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static clockid_t cpu_clock(const proxy_t *proxy)
{
    clockid_t clock;

    if (clock_getcpuclockid(proxy->pid, &clock) != 0)
        bench_die("%s has gone", proxy->name);
    return clock;
}

static int count_in(const proxy_t *proxy, const char *what)
{
    char path[64];
    DIR *dir;
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)proxy->pid, what);
    dir = opendir(path);
    if (!dir)
        bench_die("cannot read %s: %m", path);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;   /* . and .. */
}

static double pss_kb(const proxy_t *proxy)
{
    char path[64], line[128];
    FILE *f;
    double kb = -1;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)proxy->pid);
    f = fopen(path, "r");
    while (f && kb < 0 && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "Pss:", 4) == 0)
            kb = atof(line + 4);
    }
    if (kb < 0)
        bench_die("cannot read %s", path);
    fclose(f);
    return kb;
}

static void settle(double time)
{
    struct timespec ts = { (time_t)time, (long)((time - (double)(time_t)time) * 1e9) };

    nanosleep(&ts, NULL);
}

/* ---- idle virtual connections ---- */

typedef struct held {
    load_t *load;
    const proxy_t *proxy;
    vc_t **vcs;
    int wanted, begun, open, echoed;
    int all_open, all_echoed;
} held_t;

static void held_opened(vc_t *vc);
static void held_echoed(vc_t *vc, const uint8_t *pdu, uint32_t size);

static void hold_one_more(held_t *h)
{
    static const vc_events_t events = { held_opened, held_echoed, NULL };

    if (h->begun < h->wanted) {
        h->vcs[h->begun] = vc_open(h->load, h->proxy, &events, h);
        h->begun++;
    }
}

static void held_opened(vc_t *vc)
{
    held_t *h = vc_ctx(vc);

    h->all_open = ++h->open == h->wanted;
    hold_one_more(h);
}

/* Each has sent its own address, so an answer to another one is noticed. */
static void held_echoed(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    held_t *h = vc_ctx(vc);

    if (size != PING_SIZE || bench_get_u64(pdu + BENCH_HEADER) != (uint64_t)(uintptr_t)vc)
        bench_die("%s: an echo of another virtual connection", h->proxy->name);
    h->all_echoed = ++h->echoed == h->wanted;
}

static void hold_echo_each(held_t *h)
{
    uint8_t pdu[PING_SIZE] = { 0 };
    int i;

    bench_pdu(pdu, DCERPC_REQUEST, BENCH_ECHO, PING_SIZE);
    for (i = 0; i < h->wanted; i++) {
        bench_put_u64(pdu + BENCH_HEADER, (uint64_t)(uintptr_t)h->vcs[i]);
        vc_send(h->vcs[i], pdu, PING_SIZE);
        vc_kick(h->vcs[i]);
    }
    load_run(h->load, &h->all_echoed, "echo on every virtual connection");
}

static double hold(held_t *h, load_t *load, const proxy_t *proxy, int n)
{
    double start = seconds(CLOCK_MONOTONIC);
    int i;

    memset(h, 0, sizeof(*h));
    h->load = load;
    h->proxy = proxy;
    h->wanted = n;
    h->vcs = calloc((size_t)n, sizeof(*h->vcs));
    if (!h->vcs)
        bench_die("out of memory");
    for (i = 0; i < OPENING; i++)
        hold_one_more(h);
    load_run(load, &h->all_open, "opening virtual connections");
    start = seconds(CLOCK_MONOTONIC) - start;
    hold_echo_each(h);
    return start;
}

/* Returns the time until the proxy had closed them, too. */
static double release(held_t *h, int descriptors)
{
    double start = seconds(CLOCK_MONOTONIC), time;
    int i;

    for (i = 0; i < h->wanted; i++)
        vc_close(h->vcs[i]);
    free(h->vcs);
    while (count_in(h->proxy, "fd") > descriptors) {
        time = seconds(CLOCK_MONOTONIC) - start;
        if (time > CLOSE_SECONDS)
            bench_die("%s: %d descriptors are left over", h->proxy->name,
                      count_in(h->proxy, "fd") - descriptors);
        settle(0.02);
    }
    return seconds(CLOCK_MONOTONIC) - start;
}

typedef struct idle {
    int threads_before, threads, descriptors;
    double pss_before, pss, pss_after, opened, closed, cpu;
} idle_t;

static void measure_idle(const plan_t *plan, load_t *load, const proxy_t *proxy, idle_t *idle)
{
    held_t h;
    int before;

    hold(&h, load, proxy, 1);       /* loads what is loaded lazily */
    vc_close(h.vcs[0]);
    free(h.vcs);
    settle(3);                      /* longer than a closing connection lingers */
    before = count_in(proxy, "fd");
    idle->threads_before = count_in(proxy, "task");
    idle->pss_before = pss_kb(proxy);
    idle->opened = plan->idle / hold(&h, load, proxy, plan->idle);
    settle(1);
    idle->threads = count_in(proxy, "task");
    idle->descriptors = count_in(proxy, "fd") - before;
    idle->pss = pss_kb(proxy);
    idle->cpu = seconds(cpu_clock(proxy));
    settle(plan->hold);
    idle->cpu = (seconds(cpu_clock(proxy)) - idle->cpu) / plan->hold;
    idle->closed = release(&h, before);
    idle->pss_after = pss_kb(proxy);
}

/* ---- one virtual connection at work ---- */

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

static void work_begin(work_t *w, load_t *load, const proxy_t *proxy, const vc_events_t *events)
{
    memset(w, 0, sizeof(*w));
    w->load = load;
    w->proxy = proxy;
    w->vc = vc_open(load, proxy, events, w);
    load_run(load, &w->open, "opening a virtual connection");
}

static void ping(work_t *w)
{
    bench_put_u64(w->pdu + BENCH_HEADER, (uint64_t)w->pinged);
    w->sent_at = seconds(CLOCK_MONOTONIC);
    vc_send(w->vc, w->pdu, PING_SIZE);
}

static void pong(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    work_t *w = vc_ctx(vc);

    if (size != PING_SIZE || bench_get_u64(pdu + BENCH_HEADER) != (uint64_t)w->pinged)
        bench_die("%s: a wrong echo", w->proxy->name);
    w->times[w->pinged] = seconds(CLOCK_MONOTONIC) - w->sent_at;
    if (++w->pinged == w->pings)
        w->done = 1;
    else
        ping(w);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double quantile(double *values, int n, double q)
{
    qsort(values, (size_t)n, sizeof(*values), by_value);
    return values[(int)((n - 1) * q + 0.5)];
}

static void run_pings(work_t *w, int n)
{
    w->done = w->pinged = 0;
    w->pings = n;
    ping(w);
    vc_kick(w->vc);
    load_run(w->load, &w->done, "ping-pong");
}

typedef enum {
    PING_P50, PING_P99, PING_CPU, IN_SPEED, IN_CPU, OUT_SPEED, OUT_CPU, VALUES
} value_t;

static void measure_ping(const plan_t *plan, load_t *load, const proxy_t *proxy, double *values)
{
    static const vc_events_t events = { work_opened, pong, NULL };
    work_t w;
    double cpu;

    work_begin(&w, load, proxy, &events);
    w.times = calloc((size_t)(plan->pings > WARM_UP ? plan->pings : WARM_UP), sizeof(double));
    bench_pdu(w.pdu, DCERPC_REQUEST, BENCH_ECHO, PING_SIZE);
    run_pings(&w, WARM_UP);
    cpu = seconds(cpu_clock(proxy));
    run_pings(&w, plan->pings);
    values[PING_CPU] = (seconds(cpu_clock(proxy)) - cpu) / plan->pings * 1e6;
    values[PING_P50] = quantile(w.times, plan->pings, 0.50) * 1e6;
    values[PING_P99] = quantile(w.times, plan->pings, 0.99) * 1e6;
    free(w.times);
    vc_close(w.vc);
}

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

    w->moved += size;
    if (w->moved > w->bytes)
        bench_die("%s: more than was asked for", w->proxy->name);
    w->done = w->moved == w->bytes;
}

static void run_bulk(work_t *w, double *speed, double *cpu)
{
    double start = seconds(CLOCK_MONOTONIC), cpu_start = seconds(cpu_clock(w->proxy));

    vc_kick(w->vc);
    load_run(w->load, &w->done, "bulk transfer");
    start = seconds(CLOCK_MONOTONIC) - start;
    *cpu = (seconds(cpu_clock(w->proxy)) - cpu_start) / ((double)w->moved / 1e9);
    *speed = (double)w->moved / 1e6 / start;
    vc_close(w->vc);
}

static void measure_bulk(const plan_t *plan, load_t *load, const proxy_t *proxy, double *values)
{
    static const vc_events_t in = { work_opened, poured, pour }, out = { work_opened, drunk, NULL };
    work_t w;

    work_begin(&w, load, proxy, &in);
    w.bytes = plan->bulk;
    run_bulk(&w, &values[IN_SPEED], &values[IN_CPU]);

    work_begin(&w, load, proxy, &out);
    w.bytes = plan->bulk;
    bench_pdu(w.pdu, DCERPC_REQUEST, BENCH_SOURCE, PING_SIZE);
    bench_put_u64(w.pdu + BENCH_HEADER, w.bytes);
    w.pdu[BENCH_HEADER + 8] = BULK_SIZE & 0xff;
    w.pdu[BENCH_HEADER + 9] = BULK_SIZE >> 8;
    vc_send(w.vc, w.pdu, PING_SIZE);
    run_bulk(&w, &values[OUT_SPEED], &values[OUT_CPU]);
}

/* ---- the table ---- */

static void print_head(const plan_t *plan, const char *title)
{
    printf("\n%-46s %12s %12s %7s\n", title, plan->proxies[0].name, plan->proxies[1].name,
           "ratio");
}

static void print_row(const char *title, int digits, double a, double b)
{
    printf("  %-44s %12.*f %12.*f", title, digits, a, digits, b);
    if (b > 0)
        printf(" %7.2f", a / b);
    putchar('\n');
}

static void print_idle(const plan_t *plan, const idle_t *a, const idle_t *b)
{
    char title[80];
    double n = plan->idle;

    snprintf(title, sizeof(title), "%d idle virtual connections", plan->idle);
    print_head(plan, title);
    print_row("threads before", 0, a->threads_before, b->threads_before);
    print_row("threads", 0, a->threads, b->threads);
    print_row("descriptors a virtual connection", 2, a->descriptors / n, b->descriptors / n);
    print_row("PSS before, KB", 0, a->pss_before, b->pss_before);
    print_row("PSS a virtual connection, KB", 1, (a->pss - a->pss_before) / n,
              (b->pss - b->pss_before) / n);
    print_row("PSS a TLS connection, KB", 1, (a->pss - a->pss_before) / n / 2,
              (b->pss - b->pss_before) / n / 2);
    print_row("CPU while idle, ms a second", 2, a->cpu * 1e3, b->cpu * 1e3);
    print_row("opened a second", 0, a->opened, b->opened);
    print_row("seconds to close", 2, a->closed, b->closed);
    print_row("PSS when they are closed, KB", 0, a->pss_after, b->pss_after);
    fflush(stdout);
}

/* The ratio is the median of the ratios of the rounds, because a disturbance of a round concerns both. */
static void print_value(const char *title, int digits, double rounds[][PROXIES][VALUES], int n,
                        value_t value)
{
    double a[MAX_ROUNDS], b[MAX_ROUNDS], ratio[MAX_ROUNDS], low;
    int i;

    for (i = 0; i < n; i++) {
        a[i] = rounds[i][0][value];
        b[i] = rounds[i][1][value];
        ratio[i] = a[i] / b[i];
    }
    low = quantile(ratio, n, 0);
    printf("  %-44s %12.*f %12.*f %7.2f  (%.2f to %.2f)\n", title, digits, quantile(a, n, 0.5),
           digits, quantile(b, n, 0.5), quantile(ratio, n, 0.5), low, quantile(ratio, n, 1));
}

static void print_rounds(const plan_t *plan, double rounds[][PROXIES][VALUES])
{
    char title[80];
    int n = plan->rounds;

    snprintf(title, sizeof(title), "ping-pong, %d bytes, median of %d rounds", PING_SIZE, n);
    print_head(plan, title);
    print_value("p50, us", 1, rounds, n, PING_P50);
    print_value("p99, us", 1, rounds, n, PING_P99);
    print_value("CPU of the proxy, us a round trip", 1, rounds, n, PING_CPU);
    snprintf(title, sizeof(title), "bulk, %d MB in PDUs of %d", (int)(plan->bulk / 1000000),
             BULK_SIZE);
    print_head(plan, title);
    print_value("IN, MB/s", 0, rounds, n, IN_SPEED);
    print_value("IN, CPU of the proxy, s a GB", 2, rounds, n, IN_CPU);
    print_value("OUT, MB/s", 0, rounds, n, OUT_SPEED);
    print_value("OUT, CPU of the proxy, s a GB", 2, rounds, n, OUT_CPU);
}

/* ---- main ---- */

/* kind:name:port:pid */
static proxy_t parse_proxy(char *text)
{
    proxy_t proxy = { .port_count = 1, .tls = 1 };
    char *field[4] = { text, NULL, NULL, NULL };
    int i;

    for (i = 1; i < 4; i++) {
        field[i] = strchr(field[i - 1], ':');
        if (!field[i])
            bench_die("what is \"%s\"? http:name:port:pid or tcp:name:port:pid", text);
        *field[i]++ = '\0';
    }
    proxy.speaks_http = strcmp(field[0], "http") == 0;
    proxy.name = field[1];
    proxy.ports[0] = (uint16_t)atoi(field[2]);
    proxy.pid = (pid_t)atoi(field[3]);
    return proxy;
}

static void run_rounds(const plan_t *plan, load_t *load)
{
    static double rounds[MAX_ROUNDS][PROXIES][VALUES];
    int i, j;

    for (i = 0; i < plan->rounds; i++) {
        for (j = 0; j < PROXIES; j++) {
            int which = (i + j) % PROXIES;

            measure_ping(plan, load, &plan->proxies[which], rounds[i][which]);
            measure_bulk(plan, load, &plan->proxies[which], rounds[i][which]);
        }
    }
    if (plan->rounds)
        print_rounds(plan, rounds);
}

int main(int argc, char **argv)
{
    plan_t plan = { .idle = 1000, .hold = 2, .rounds = 7, .pings = 5000, .bulk = 200 };
    const char *auth = "", *target = "";
    idle_t idle[PROXIES];
    load_t *load;
    int opt, i;

    if (argc > 1 && strcmp(argv[1], "long") == 0)
        return rpcload_long(argc - 1, argv + 1);
    while ((opt = getopt(argc, argv, "u:t:n:s:r:p:m:")) != -1) {
        switch (opt) {
        case 'u': auth = optarg; break;
        case 't': target = optarg; break;
        case 'n': plan.idle = atoi(optarg); break;
        case 's': plan.hold = atoi(optarg); break;
        case 'r': plan.rounds = atoi(optarg); break;
        case 'p': plan.pings = atoi(optarg); break;
        case 'm': plan.bulk = (uint64_t)atoi(optarg); break;
        default: bench_die("usage: see the top of rpcload.c");
        }
    }
    if (argc - optind != PROXIES || plan.rounds > MAX_ROUNDS || plan.pings < 1 || plan.hold < 1
        || plan.bulk < 1)
        bench_die("usage: see the top of rpcload.c");
    plan.bulk = plan.bulk * 1000000 / BULK_SIZE * BULK_SIZE;
    for (i = 0; i < PROXIES; i++)
        plan.proxies[i] = parse_proxy(argv[optind + i]);
    load = load_create(auth, target);
    for (i = 0; plan.idle && i < PROXIES; i++)
        measure_idle(&plan, load, &plan.proxies[i], &idle[i]);
    if (plan.idle)
        print_idle(&plan, &idle[0], &idle[1]);
    run_rounds(&plan, load);
    load_destroy(load);
    return 0;
}
