/* rpcload_crowd.c: many virtual connections: what it costs to open, to hold and to end them.
 *
 *   crowd_open: so many set-ups under way at a time; each that is open begins the next
 *   crowd_echo: every one proves by its own bytes that it works
 *   ends: by us, by the death of this program, or by the proxy (crowd_closed)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rpcload_measure.h"
#include "rpcload_process.h"

#define ECHO_SIZE 100
#define CLOSE_SECONDS 60
#define IDLE_SECONDS 2

typedef struct crowd {
    const plan_t *plan;
    const vc_events_t *events;
    vc_t **vcs;
    int wanted, begun, open, echoed, closed;
    int all_open, all_echoed, all_closed;
    double user, sys, seconds;  /* of the opening */
} crowd_t;

static void settle(double time)
{
    struct timespec ts = { (time_t)time, (long)((time - (double)(time_t)time) * 1e9) };

    nanosleep(&ts, NULL);
}

/* ---- opening ---- */

static void crowd_one_more(crowd_t *c)
{
    if (c->begun < c->wanted) {
        c->vcs[c->begun] = vc_open(c->plan->load, &c->plan->proxy, c->events, c);
        c->begun++;
    }
}

static void crowd_opened(vc_t *vc)
{
    crowd_t *c = vc_ctx(vc);

    c->all_open = ++c->open == c->wanted;
    crowd_one_more(c);
}

static void storm_opened(vc_t *vc)
{
    vc_end(vc);
    crowd_opened(vc);
}

/* Each has sent its own address, so an answer to another one is noticed. */
static void crowd_echoed(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    crowd_t *c = vc_ctx(vc);

    if (size != ECHO_SIZE || bench_get_u64(pdu + BENCH_HEADER) != (uint64_t)(uintptr_t)vc)
        bench_die("%s: an echo of another virtual connection", c->plan->proxy.name);
    c->all_echoed = ++c->echoed == c->wanted;
}

static void crowd_closed(vc_t *vc)
{
    crowd_t *c = vc_ctx(vc);

    if (!c->all_echoed)
        bench_die("%s: closed while others are being opened", c->plan->proxy.name);
    c->all_closed = ++c->closed == c->wanted;
}

static void crowd_open(crowd_t *c, const plan_t *plan, const vc_events_t *events, int n)
{
    double user, sys;
    int i;

    memset(c, 0, sizeof(*c));
    c->plan = plan;
    c->events = events;
    c->wanted = n;
    c->vcs = calloc((size_t)n, sizeof(*c->vcs));
    if (!c->vcs)
        bench_die("out of memory");
    process_times(plan->proxy.pid, &user, &sys);
    c->seconds = bench_now();
    for (i = 0; i < plan->opening; i++)
        crowd_one_more(c);
    load_run(plan->load, &c->all_open, "opening virtual connections");
    c->seconds = bench_now() - c->seconds;
    process_times(plan->proxy.pid, &c->user, &c->sys);
    c->user -= user;
    c->sys -= sys;
}

static void print_opening(const crowd_t *c)
{
    print_value("setups", c->wanted / c->seconds);
    print_value("setup_user", c->user / c->wanted * 1e3);
    print_value("setup_sys", c->sys / c->wanted * 1e3);
}

static void crowd_echo(crowd_t *c)
{
    uint8_t pdu[ECHO_SIZE] = { 0 };
    int i;

    bench_pdu(pdu, DCERPC_REQUEST, BENCH_ECHO, ECHO_SIZE);
    for (i = 0; i < c->wanted; i++) {
        bench_put_u64(pdu + BENCH_HEADER, (uint64_t)(uintptr_t)c->vcs[i]);
        vc_send(c->vcs[i], pdu, ECHO_SIZE);
        vc_kick(c->vcs[i]);
    }
    load_run(c->plan->load, &c->all_echoed, "echo on every virtual connection");
}

/* ---- ends ---- */

/* Until the proxy has closed what it had for them, too. */
static void await_descriptors(const plan_t *plan, int most)
{
    double start = bench_now();

    while (process_descriptors(plan->proxy.pid) > most) {
        if (bench_now() - start > CLOSE_SECONDS)
            bench_die("%s: %d descriptors are left over", plan->proxy.name,
                      process_descriptors(plan->proxy.pid) - most);
        settle(0.02);
    }
}

static void crowd_close(crowd_t *c)
{
    int i;

    for (i = 0; i < c->wanted; i++)
        vc_close(c->vcs[i]);
    free(c->vcs);
}

static const vc_events_t HELD = { crowd_opened, crowd_echoed, NULL, NULL };

void measure_setups(const plan_t *plan)
{
    int before = process_descriptors(plan->proxy.pid);
    crowd_t c;

    crowd_open(&c, plan, &HELD, plan->count);
    print_opening(&c);
    crowd_close(&c);
    await_descriptors(plan, before);
}

void measure_storm(const plan_t *plan)
{
    static const vc_events_t events = { storm_opened, crowd_echoed, NULL, NULL };
    crowd_t c;

    crowd_open(&c, plan, &events, plan->count);
    print_opening(&c);
    free(c.vcs);
}

/* ---- the crowd ---- */

/* So that every worker has loaded what it loads lazily; longer than a closing connection
 * lingers. */
static void warm_up(const plan_t *plan)
{
    crowd_t c;

    crowd_open(&c, plan, &HELD, plan->opening);
    crowd_close(&c);
    settle(3);
}

static void measure_holding(const plan_t *plan, double pss, int descriptors)
{
    double cpu;

    settle(1);
    print_value("threads", process_threads(plan->proxy.pid));
    print_value("descriptors",
                (process_descriptors(plan->proxy.pid) - descriptors) / (double)plan->count);
    print_value("pss", (process_pss_kb(plan->proxy.pid) - pss) / plan->count / 2);
    cpu = process_cpu(plan->proxy.pid);
    settle(IDLE_SECONDS);
    print_value("idle_cpu", (process_cpu(plan->proxy.pid) - cpu) / IDLE_SECONDS * 1e3);
}

static void measure_end(crowd_t *c, int descriptors)
{
    pid_t pid = c->plan->proxy.pid;
    double cpu = process_cpu(pid), start = bench_now();

    crowd_close(c);
    await_descriptors(c->plan, descriptors);
    print_value("end_seconds", bench_now() - start);
    print_value("end_cpu", (process_cpu(pid) - cpu) / c->wanted * 1e3);
}

void measure_crowd(const plan_t *plan)
{
    static const vc_events_t ended = { crowd_opened, crowd_echoed, NULL, crowd_closed };
    crowd_t c;
    double pss;
    int descriptors;
    char line[16];

    warm_up(plan);
    descriptors = process_descriptors(plan->proxy.pid);
    pss = process_pss_kb(plan->proxy.pid);
    crowd_open(&c, plan, plan->ends_by_proxy ? &ended : &HELD, plan->count);
    print_opening(&c);
    crowd_echo(&c);
    measure_holding(plan, pss, descriptors);
    print_value("ready", 1);
    if (plan->ends_by_proxy)
        load_run(plan->load, &c.all_closed, "the end of all virtual connections");
    else if (fgets(line, sizeof(line), stdin))
        measure_end(&c, descriptors);
}
