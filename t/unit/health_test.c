/* health_test: decisions about draining, of this machine and of others. */
#include "shared/health.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>

#include "unit.h"

#define DECISIONS 2000

static rpc_health_t *make(void)
{
    void *memory = mmap(NULL, rpc_health_size(), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : rpc_health_init(memory);
}

static rpc_health_view_t view_of(const rpc_health_t *health)
{
    rpc_health_view_t view = { .port = 0 };
    int i;

    for (i = 0; i < RPC_HEALTH_SLOTS; i++)
        if (rpc_health_view(health, i, 0, &view))
            break;
    return view;
}

static void test_order(rpc_health_t *here, rpc_health_t *there)
{
    rpc_health_view_t first, second;

    ok(rpc_health_drain(here, "mbx", 6001, 500, 0), "drained");
    first = view_of(here);
    ok(first.decision & 1, "which is a decision");
    ok(rpc_health_undrain(here, "mbx", 6001, 0), "used again");
    second = view_of(here);
    ok(!(second.decision & 1) && second.decision > first.decision, "which is a later one");
    ok(rpc_health_drain(there, "mbx", 6001, 0, 0), "another machine has heard nothing");
    ok(view_of(there).decision > second.decision, "and decides later");
    ok(!rpc_health_decided(there, "mbx", 6001, second.decision, 0), "an older one changes nothing");
    ok(rpc_health_drains(there, "mbx", 6001), "there");
    ok(rpc_health_decided(here, "mbx", 6001, view_of(there).decision, 900), "a later one does");
    is_int((int)view_of(here).drain_end, 900, "with its end");
    ok(!rpc_health_decided(here, "mbx", 6001, view_of(there).decision, 700), "once");
    is_int((int)view_of(here).drain_end, 900, "and for all");
}

/* A machine whose clock is a year ahead. */
static void test_clocks(rpc_health_t *here)
{
    uint64_t ahead = view_of(here).decision + ((uint64_t)apr_time_from_sec(31536000) << 8 & ~1ull);

    ok(ahead & 1, "it drains");
    rpc_health_decided(here, "mbx", 6001, ahead, 0);
    ok(rpc_health_undrain(here, "mbx", 6001, 0) && view_of(here).decision > ahead,
       "what follows is later, whatever the time is");
    ok(rpc_health_drain(here, "mbx", 6001, 0, ahead << 1 | 1)
       && view_of(here).decision > (ahead << 1 | 1), "also than what others have told");
}

/* A child and this process decide again and again; at the end DRAIN is what the decision says. */
static void test_race(rpc_health_t *here)
{
    pid_t child = fork();
    int i, status = 0, differ = 0;

    for (i = 0; i < DECISIONS; i++) {
        uint64_t decision = view_of(here).decision;

        if (child == 0)
            rpc_health_decided(here, "mbx", 6001, (decision + 256) ^ (i & 1), 0);
        else if (i & 1)
            rpc_health_drain(here, "mbx", 6001, 0, 0);
        else
            rpc_health_undrain(here, "mbx", 6001, 0);
    }
    if (child == 0)
        _exit(0);
    waitpid(child, &status, 0);
    differ = rpc_health_drains(here, "mbx", 6001) != (int)(view_of(here).decision & 1);
    ok(WIFEXITED(status) && !differ, "who decides last is right");
}

/* A process that has died in the middle keeps nobody from deciding. */
static void test_dead(rpc_health_t *here)
{
    pid_t child = fork();
    int status;

    while (child == 0) {
        rpc_health_drain(here, "mbx", 6001, 0, 0);
        rpc_health_undrain(here, "mbx", 6001, 0);
    }
    if (!ok(child > 0, "a decider"))
        return;
    usleep(1000);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    rpc_health_gone(here, (uint32_t)child);
    ok(rpc_health_drain(here, "mbx", 6001, 0, 0), "after the death of a decider");
}

int main(void)
{
    rpc_health_t *here, *there;

    apr_initialize();
    here = make();
    there = make();
    if (!ok(here && there, "two machines"))
        return unit_done();
    test_order(here, there);
    test_clocks(here);
    test_race(here);
    test_dead(here);
    apr_terminate();
    return unit_done();
}
