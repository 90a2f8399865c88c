/* rpcload.c: which measurement of which proxy. (What "rpcload long" does is in rpcload_long.c.)
 *
 * usage: rpcload ping|in|out|probe|setups|storm|crowd -u base64 -t server:port [-n number]
 *                [-c set-ups under way at a time] [-a addresses to connect from] [-e]
 *                SCHEME:PORT:PID
 * SCHEME is http or https for a proxy that speaks RPC over HTTP, tcp or tls for one that only
 * passes bytes; PID is its process, which counts with its descendants. NUMBER: pings, MB, or
 * virtual connections. -e: the proxy ends the crowd.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rpcload_long.h"
#include "rpcload_measure.h"

#define USAGE "usage: see the top of rpcload.c"

typedef struct measure {
    const char *name;
    void (*run)(const plan_t *plan);
} measure_t;

static const measure_t MEASURES[] = {
    { "ping", measure_ping },
    { "in", measure_in },
    { "out", measure_out },
    { "probe", measure_probe },
    { "setups", measure_setups },
    { "storm", measure_storm },
    { "crowd", measure_crowd },
};

void print_value(const char *name, double value)
{
    printf("%s %.6g\n", name, value);
    fflush(stdout);
}

static proxy_t parse_proxy(const char *text)
{
    proxy_t proxy = { .port_count = 1 };
    char scheme[8];
    int port, pid;

    if (sscanf(text, "%7[a-z]:%d:%d", scheme, &port, &pid) != 3)
        bench_die(USAGE);
    proxy.speaks_http = strncmp(scheme, "http", 4) == 0;
    proxy.tls = strcmp(scheme, "https") == 0 || strcmp(scheme, "tls") == 0;
    proxy.name = proxy.speaks_http ? "httpd" : "HAProxy";
    proxy.ports[0] = (uint16_t)port;
    proxy.pid = (pid_t)pid;
    return proxy;
}

static const measure_t *find_measure(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(MEASURES) / sizeof(*MEASURES); i++) {
        if (strcmp(MEASURES[i].name, name) == 0)
            return &MEASURES[i];
    }
    bench_die(USAGE);
}

int main(int argc, char **argv)
{
    plan_t plan = { .count = 1, .opening = 32 };
    const char *auth = "", *target = "";
    const measure_t *measure;
    unsigned addresses = 0;
    int opt;

    if (argc > 1 && strcmp(argv[1], "long") == 0)
        return rpcload_long(argc - 1, argv + 1);
    measure = find_measure(argc > 1 ? argv[1] : "");
    argc--, argv++;
    while ((opt = getopt(argc, argv, "u:t:n:c:a:e")) != -1) {
        switch (opt) {
        case 'u': auth = optarg; break;
        case 't': target = optarg; break;
        case 'n': plan.count = atoi(optarg); break;
        case 'c': plan.opening = atoi(optarg); break;
        case 'a': addresses = (unsigned)atoi(optarg); break;
        case 'e': plan.ends_by_proxy = 1; break;
        default: bench_die(USAGE);
        }
    }
    if (argc - optind != 1 || plan.count < 1 || plan.opening < 1)
        bench_die(USAGE);
    plan.proxy = parse_proxy(argv[optind]);
    plan.load = load_create(auth, target);
    plan.load->addresses = addresses;
    measure->run(&plan);
    load_destroy(plan.load);
    return 0;
}
