/* channel_table_test: the table of live channels: which cookies it refuses, how it counts, and what
 * happens when several processes use it at once. */
#include "shared/channel_table.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_shm.h>

#include "unit.h"

#define PROCESSES 4
#define ROUNDS 20000
#define KILLS 300
#define MANY 100000

typedef struct person {
    const char *identity, *user;
    rts_address_t address;
    const char *target;
} person_t;

static const person_t alice = { "alice\nmail:6001\nhost:443", "alice", { 0, { 192, 0, 2, 1 } },
                                "mail[6001]" };
static const person_t bob = { "bob\nmail:6001\nhost:443", "bob", { 0, { 192, 0, 2, 2 } },
                              "mail[6001]" };
static const person_t alice_elsewhere = { "alice\nmail:6002\nhost:443", "alice",
                                          { 0, { 192, 0, 2, 1 } }, "mail[6002]" };
static const rpc_status_limits_t no_limits;

static rts_cookie_t cookie(int n)
{
    rts_cookie_t c = { { 0 } };

    memcpy(c.b, &n, sizeof(n));
    return c;
}

static int enter_as(rpc_status_t *t, rpc_role_t role, const person_t *p,
                    const rpc_status_limits_t *limits, rpc_reason_t *why)
{
    rpc_status_who_t who = { role, p->identity, p->user, &p->address, p->target };

    return rpc_status_enter(t, &who, limits, why);
}

/* Takes a row without limits. */
static int row_of(rpc_status_t *t, rpc_role_t role, const person_t *p)
{
    rpc_reason_t why;

    return enter_as(t, role, p, &no_limits, &why);
}

static void is_reason(rpc_reason_t got, rpc_reason_t want, const char *name)
{
    is_str(rpc_reason_info(got)->token, rpc_reason_info(want)->token, "%s", name);
}

/* Tests whether a new channel is accepted beside alice's channel of the same virtual connection. */
static void test_cookies(rpc_status_t *t)
{
    static const struct {
        const char *name;
        rpc_role_t established, newcomer;
        const person_t *who;
        int other_cookie, replacing;
        rpc_reason_t reason;
    } cases[] = {
        { "the other half", RPC_INBOUND, RPC_OUTBOUND, &alice, 0, 0, RPC_REASON_NONE },
        { "the other half, OUT first", RPC_OUTBOUND, RPC_INBOUND, &alice, 0, 0, RPC_REASON_NONE },
        { "a second IN", RPC_INBOUND, RPC_INBOUND, &alice, 0, 0, RPC_REASON_DUPLICATE_COOKIE },
        { "a second OUT", RPC_OUTBOUND, RPC_OUTBOUND, &alice, 0, 0, RPC_REASON_DUPLICATE_COOKIE },
        { "a successor of IN", RPC_INBOUND, RPC_INBOUND, &alice, 0, 1, RPC_REASON_NONE },
        { "a successor of OUT", RPC_OUTBOUND, RPC_OUTBOUND, &alice, 0, 1, RPC_REASON_NONE },
        { "another user's half", RPC_OUTBOUND, RPC_INBOUND, &bob, 0, 0, RPC_REASON_PEER_MISMATCH },
        { "another user's second IN", RPC_INBOUND, RPC_INBOUND, &bob, 0, 0,
          RPC_REASON_PEER_MISMATCH },
        { "another user's successor", RPC_INBOUND, RPC_INBOUND, &bob, 0, 1,
          RPC_REASON_PEER_MISMATCH },
        { "a successor while only the other half is here", RPC_INBOUND, RPC_OUTBOUND, &bob, 0, 1,
          RPC_REASON_PEER_MISMATCH },
        { "another target", RPC_INBOUND, RPC_OUTBOUND, &alice_elsewhere, 0, 0,
          RPC_REASON_PEER_MISMATCH },
        { "another connection", RPC_INBOUND, RPC_INBOUND, &alice, 1, 0, RPC_REASON_NONE },
        { "another user's own", RPC_INBOUND, RPC_INBOUND, &bob, 1, 0, RPC_REASON_NONE },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rts_cookie_t first = cookie(1), second = cookie(cases[i].other_cookie ? 2 : 1);
        int old = row_of(t, cases[i].established, &alice),
            new = row_of(t, cases[i].newcomer, cases[i].who);

        is_reason(rpc_status_claim(t, old, &first, 0), RPC_REASON_NONE, "established");
        is_reason(rpc_status_claim(t, new, &second, cases[i].replacing), cases[i].reason,
                  cases[i].name);
        rpc_status_leave(t, old);
        rpc_status_leave(t, new);
    }
    is_int(rpc_status_count(t).channels, 0, "all have left");
}

/* A channel that was refused leaves nothing behind that is in the way of others. */
static void test_refused(rpc_status_t *t)
{
    rts_cookie_t vc = cookie(1);
    int first = row_of(t, RPC_INBOUND, &alice), thief = row_of(t, RPC_OUTBOUND, &bob);
    int second = row_of(t, RPC_OUTBOUND, &alice), again = row_of(t, RPC_OUTBOUND, &bob);

    rpc_status_claim(t, first, &vc, 0);
    is_reason(rpc_status_claim(t, thief, &vc, 0), RPC_REASON_PEER_MISMATCH, "a thief");
    is_reason(rpc_status_claim(t, second, &vc, 0), RPC_REASON_NONE, "the right half beside it");
    rpc_status_leave(t, first);
    is_reason(rpc_status_claim(t, again, &vc, 0), RPC_REASON_PEER_MISMATCH, "while one half lives");
    rpc_status_leave(t, second);
    is_reason(rpc_status_claim(t, again, &vc, 0), RPC_REASON_NONE,
              "when both have ended the cookie is free");
    rpc_status_leave(t, thief);
    rpc_status_leave(t, again);
}

/* Tests that MAX channels of WHO are accepted, and that the next one is refused until one has
 * left. */
static void limit_is(rpc_status_t *t, const char *name, const rpc_status_limits_t *limits, int max,
                     const person_t *who, rpc_reason_t reason)
{
    rpc_reason_t why;
    int row[8], i;

    for (i = 0; i < max; i++)
        row[i] = enter_as(t, RPC_INBOUND, who, limits, &why);
    ok(row[max - 1] != RPC_STATUS_NO_ROW && !why, "%s: %d pass", name, max);
    is_int(enter_as(t, RPC_INBOUND, who, limits, &why), RPC_STATUS_NO_ROW, "%s: one more does not",
           name);
    is_reason(why, reason, name);
    is_int(rpc_status_count(t).channels, max, "%s: it is not counted", name);
    rpc_status_leave(t, row[0]);
    row[0] = enter_as(t, RPC_INBOUND, who, limits, &why);
    ok(row[0] != RPC_STATUS_NO_ROW, "%s: there is room again", name);
    for (i = 0; i < max; i++)
        rpc_status_leave(t, row[i]);
}

static void test_limits(rpc_status_t *t)
{
    limit_is(t, "in all", &(rpc_status_limits_t){ .channels = 3 }, 3, &alice,
             RPC_REASON_TOO_MANY_CHANNELS);
    limit_is(t, "of a user", &(rpc_status_limits_t){ .channels = 9, .of_user = 2 }, 2, &alice,
             RPC_REASON_TOO_MANY_OF_USER);
    limit_is(t, "of an address", &(rpc_status_limits_t){ .of_user = 9, .of_address = 4 }, 4, &alice,
             RPC_REASON_TOO_MANY_OF_ADDRESS);
    limit_is(t, "unpaired", &(rpc_status_limits_t){ .of_user = 9, .unpaired = 1 }, 1, &alice,
             RPC_REASON_TOO_MANY_UNPAIRED);
}

static void test_unpaired(rpc_status_t *t)
{
    rpc_status_limits_t limits = { .unpaired = 1 };
    rpc_reason_t why;
    int first = enter_as(t, RPC_INBOUND, &alice, &limits, &why), second;

    is_int(rpc_status_count(t).unpaired, 1, "a new channel is unpaired");
    rpc_status_opened(t, first);
    rpc_status_opened(t, first);
    is_int(rpc_status_count(t).unpaired, 0, "opened, and opened again, it is not");
    second = enter_as(t, RPC_OUTBOUND, &alice, &limits, &why);
    ok(second != RPC_STATUS_NO_ROW, "and another may come");
    rpc_status_leave(t, first);
    is_int(rpc_status_count(t).unpaired, 1, "which counts");
    rpc_status_leave(t, second);
    first = row_of(t, RPC_INBOUND, &alice);
    is_int(rpc_status_count(t).unpaired, 1, "a row used again begins anew");
    rpc_status_leave(t, first);
}

/* A user who has used up the share of one user keeps no other user out. */
static void test_shares(rpc_status_t *t)
{
    static const person_t carol = { "carol", "carol", { 0, { 192, 0, 2, 1 } }, "mail[6002]" };
    static const person_t dave = { "dave", "dave", { 0, { 192, 0, 2, 4 } }, "MAIL[6001]" };
    static const person_t nobody = { "nobody", "", { 0, { 192, 0, 2, 5 } }, "mail[6005]" };
    static const struct {
        const char *name;
        rpc_status_limits_t limits;
        /* who uses up the share, who is refused then, and who is not */
        const person_t *many, *same, *other;
        rpc_reason_t reason;
    } cases[] = {
        { "of a user", { .unpaired = 9, .unpaired_of_user = 2 }, &alice, &alice_elsewhere, &carol,
          RPC_REASON_TOO_MANY_UNPAIRED_OF_USER },
        { "of an address", { .unpaired = 9, .unpaired_of_user = 3, .unpaired_of_address = 2 },
          &alice, &carol, &dave,
          RPC_REASON_TOO_MANY_UNPAIRED_OF_ADDRESS },
        { "of a target", { .unpaired = 9, .unpaired_of_address = 3, .unpaired_of_target = 2 },
          &alice, &dave,
          &alice_elsewhere, RPC_REASON_TOO_MANY_UNPAIRED_OF_TARGET },
        { "of the whole server", { .unpaired = 3, .unpaired_of_user = 2 }, &alice, &alice, &bob,
          RPC_REASON_TOO_MANY_UNPAIRED_OF_USER },
        { "of nobody", { .unpaired = 9, .unpaired_of_user = 1, .unpaired_of_address = 3 }, &nobody,
          &alice, &nobody,
          RPC_REASON_NONE },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const rpc_status_limits_t *limits = &cases[i].limits;
        rpc_reason_t why;
        int row[4];

        row[0] = enter_as(t, RPC_INBOUND, cases[i].many, limits, &why);
        row[1] = enter_as(t, RPC_OUTBOUND, cases[i].many, limits, &why);
        ok(row[1] != RPC_STATUS_NO_ROW, "a share %s: two pass", cases[i].name);
        row[2] = enter_as(t, RPC_INBOUND, cases[i].same, limits, &why);
        is_reason(why, cases[i].reason, cases[i].name);
        row[3] = enter_as(t, RPC_INBOUND, cases[i].other, limits, &why);
        ok(row[3] != RPC_STATUS_NO_ROW, "a share %s: another passes beside it", cases[i].name);
        if (row[2] != RPC_STATUS_NO_ROW)
            rpc_status_leave(t, row[2]);
        rpc_status_opened(t, row[0]);
        row[2] = enter_as(t, RPC_INBOUND, cases[i].same, limits, &why);
        ok(row[2] != RPC_STATUS_NO_ROW || limits->unpaired == 3,
           "a share %s: there is room once one is opened", cases[i].name);
        for (int n = 0; n < 4; n++) {
            if (row[n] != RPC_STATUS_NO_ROW)
                rpc_status_leave(t, row[n]);
        }
    }
}

static void is_most(const rpc_status_t *t, const uint32_t most[RPC_LIMITS], const char *name)
{
    int i;

    for (i = 0; i < RPC_LIMITS; i++)
        is_int((int)rpc_status_most(t, (rpc_limit_t)i), (int)most[i], "%s: limit %d", name, i);
}

/* What there was at most: of all, of one user, one address, one target. */
static void test_most(apr_pool_t *pool)
{
    static const rpc_status_limits_t limits = { .channels = 5, .of_user = 2, .unpaired = 5 };
    rpc_reason_t why;
    rpc_status_t *t;
    int row[5], i;

    rpc_status_create(&t, pool);
    rpc_status_set_pid(t, 1);
    is_most(t, (const uint32_t[RPC_LIMITS]){ 0 }, "at first");
    row[0] = enter_as(t, RPC_INBOUND, &alice, &limits, &why);
    row[1] = enter_as(t, RPC_OUTBOUND, &alice, &limits, &why);
    row[2] = enter_as(t, RPC_INBOUND, &bob, &limits, &why);
    is_most(t, (const uint32_t[RPC_LIMITS]){ 3, 3, 2, 2, 2, 2, 3 }, "three");
    rpc_status_claim(t, row[0], &(rts_cookie_t){ { 1 } }, 0);
    row[3] = enter_as(t, RPC_INBOUND, &alice, &limits, &why);
    is_most(t, (const uint32_t[RPC_LIMITS]){ 3, 3, 2, 2, 2, 2, 3 }, "who waits does not count");
    is_reason(rpc_status_claim(t, row[3], &(rts_cookie_t){ { 1 } }, 1), RPC_REASON_NONE, "until");
    is_most(t, (const uint32_t[RPC_LIMITS]){ 4, 4, 3, 3, 3, 3, 4 }, "he succeeds");
    for (i = 0; i < 4; i++)
        rpc_status_leave(t, row[i]);
    row[0] = enter_as(t, RPC_INBOUND, &alice, &no_limits, &why);
    is_most(t, (const uint32_t[RPC_LIMITS]){ 4, 4, 3, 3, 3, 3, 4 }, "it stays");
    row[1] = enter_as(t, RPC_MIXED, &alice, &(rpc_status_limits_t){ .of_address = 1 }, &why);
    is_int(row[1], RPC_STATUS_NO_ROW, "one is refused");
    is_most(t, (const uint32_t[RPC_LIMITS]){ 4, 4, 3, 3, 3, 3, 4 }, "and was none");
    for (i = 0; i < 300; i++)
        row_of(t, RPC_INBOUND, &bob);
    is_int((int)rpc_status_most(t, RPC_LIMIT_CHANNELS), 301, "of all any number is counted");
    is_int((int)rpc_status_most(t, RPC_LIMIT_OF_USER), (int)RPC_STATUS_COUNTED,
           "of one without a limit so many");
    rpc_status_seen(t, RPC_LIMIT_OF_USER, 300);
    is_int((int)rpc_status_most(t, RPC_LIMIT_OF_USER), 300, "and what is seen");
    rpc_status_seen(t, RPC_LIMIT_OF_USER, 7);
    is_int((int)rpc_status_most(t, RPC_LIMIT_OF_USER), 300, "if it is more");
}

/* Do two channels of these count as one user's, or one address's? */
static int same(rpc_status_t *t, const char *user, const char *other, const rts_address_t *address,
                const rts_address_t *other_address)
{
    rpc_status_limits_t limits = { .of_user = user ? 1 : 0, .of_address = address ? 1 : 0 };
    static const rts_address_t any = { 0, { 10, 0, 0, 1 } };
    rpc_status_who_t one = { RPC_INBOUND, "x", user ? user : "", address ? address : &any, "a" };
    rpc_status_who_t two = { RPC_INBOUND, "y", other ? other : "",
                             other_address ? other_address : &any, "b" };
    rpc_reason_t why;
    int first = rpc_status_enter(t, &one, &limits, &why),
        second = rpc_status_enter(t, &two, &limits, &why);

    rpc_status_leave(t, first);
    if (second != RPC_STATUS_NO_ROW)
        rpc_status_leave(t, second);
    return second == RPC_STATUS_NO_ROW;
}

static void test_who(rpc_status_t *t)
{
    const rts_address_t v4 = { 0, { 192, 0, 2, 1 } }, neighbour = { 0, { 192, 0, 2, 2 } };
    const rts_address_t v4_and_rest = { 0, { 192, 0, 2, 1, 9, 9, 9, 9 } };
    const rts_address_t nat64 = { 1, { 0, 0x64, 0xff, 0x9b, [12] = 192, 0, 2, 1 } };
    const rts_address_t v6 = { 1, { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1 } };
    const rts_address_t v6_same_64 = { 1,
                                       { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9 } };
    const rts_address_t v6_next_64 = { 1,
                                       { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1 } };

    ok(same(t, "alice", "alice", NULL, NULL), "a user");
    ok(!same(t, "alice", "alic", NULL, NULL), "another user");
    ok(!same(t, "", "", NULL, NULL), "nobody is not counted by user");
    ok(same(t, NULL, NULL, &v4, &v4_and_rest), "an IPv4 address, 4 bytes of it");
    ok(!same(t, NULL, NULL, &v4, &neighbour), "another one");
    ok(same(t, NULL, NULL, &v4, &nat64), "the same behind NAT64");
    ok(same(t, NULL, NULL, &v6, &v6_same_64), "an IPv6 network of 64 bits");
    ok(!same(t, NULL, NULL, &v6, &v6_next_64), "another one");
}

/* Takes a row of ROLE when LIMITS are reached. Returns its number, or RPC_STATUS_NO_ROW. */
static int beyond(rpc_status_t *t, rpc_role_t role, const person_t *p,
                  const rpc_status_limits_t *limits)
{
    rpc_reason_t why;

    return enter_as(t, role, p, limits, &why);
}

/* When a limit is reached, a successor is accepted, and no other channel. */
static void test_successors(rpc_status_t *t)
{
    static const rpc_status_limits_t limits[] = {
        { .channels = 2 }, { .of_user = 2 }, { .of_address = 2 }, { .unpaired = 2 },
        { .reached = RPC_REASON_TOO_MANY_FAILED },
    };
    static const rpc_reason_t reasons[] = {
        RPC_REASON_TOO_MANY_CHANNELS, RPC_REASON_TOO_MANY_OF_USER, RPC_REASON_TOO_MANY_OF_ADDRESS,
        RPC_REASON_TOO_MANY_UNPAIRED, RPC_REASON_TOO_MANY_FAILED,
    };
    rts_cookie_t vc = cookie(1), other_vc = cookie(2);
    unsigned i;

    for (i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        int in = row_of(t, RPC_INBOUND, &alice), out = row_of(t, RPC_OUTBOUND, &alice), next, more;

        rpc_status_claim(t, in, &vc, 0);
        is_int(beyond(t, RPC_OUTBOUND, &alice, &limits[i]), RPC_STATUS_NO_ROW,
               "%s: nothing to succeed", rpc_reason_info(reasons[i])->token);
        rpc_status_claim(t, out, &vc, 0);
        is_int(beyond(t, RPC_OUTBOUND, &alice_elsewhere, &limits[i]), RPC_STATUS_NO_ROW,
               "nothing of this target");
        is_int(beyond(t, RPC_MIXED, &alice, &limits[i]), RPC_STATUS_NO_ROW,
               "version 1 has no successors");
        next = beyond(t, RPC_OUTBOUND, &alice, &limits[i]);
        ok(next != RPC_STATUS_NO_ROW, "what may be a successor has a row");
        is_int(rpc_status_count(t).channels, 2, "which does not count yet");
        is_int(beyond(t, RPC_OUTBOUND, &alice, &limits[i]), RPC_STATUS_NO_ROW,
               "one for each that could be succeeded");
        is_reason(rpc_status_claim(t, next, &other_vc, 0), reasons[i], "no successor after all");
        rpc_status_leave(t, next);
        next = beyond(t, RPC_OUTBOUND, &alice, &limits[i]);
        is_reason(rpc_status_claim(t, next, &other_vc, 1), reasons[i], "the successor of nobody");
        rpc_status_leave(t, next);
        next = beyond(t, RPC_OUTBOUND, &alice, &limits[i]);
        is_reason(rpc_status_claim(t, next, &vc, 1), RPC_REASON_NONE, "a successor");
        is_int(rpc_status_count(t).channels, 3, "counts");
        more = beyond(t, RPC_OUTBOUND, &alice, &limits[i]);
        is_reason(rpc_status_claim(t, more, &vc, 1), RPC_REASON_NONE, "a successor's successor");
        rpc_status_leave(t, out);
        out = beyond(t, RPC_OUTBOUND, &alice, &limits[i]);
        is_reason(rpc_status_claim(t, out, &vc, 1), RPC_REASON_NONE, "one has gone, one comes");
        in = (rpc_status_leave(t, in), beyond(t, RPC_OUTBOUND, &alice, &limits[i]));
        is_reason(in == RPC_STATUS_NO_ROW ? reasons[i] : rpc_status_claim(t, in, &vc, 1),
                  reasons[i], "no fourth");
        if (in != RPC_STATUS_NO_ROW)
            rpc_status_leave(t, in);
        rpc_status_leave(t, next);
        rpc_status_leave(t, more);
        rpc_status_leave(t, out);
        is_int(rpc_status_count(t).channels, 0, "nothing is left");
    }
}

/* A half learns which server the other half has, and a successor which server its predecessor
 * had. */
static void test_places(rpc_status_t *t)
{
    rts_cookie_t vc = cookie(1), other_vc = cookie(2);
    int out = row_of(t, RPC_OUTBOUND, &alice), in = row_of(t, RPC_INBOUND, &alice);
    int next = row_of(t, RPC_INBOUND, &alice), other = row_of(t, RPC_INBOUND, &alice);

    rpc_status_claim(t, out, &vc, 0);
    rpc_status_reached(t, out, "GC1", 6004);
    rpc_status_claim(t, in, &vc, 0);
    ok(rpc_status_meets(t, in, "gc1", 6004), "the other half is there");
    ok(!rpc_status_meets(t, in, "gc1", 6005), "not at another port");
    ok(!rpc_status_meets(t, in, "gc2", 6004), "nor at another server");
    rpc_status_claim(t, other, &other_vc, 0);
    ok(!rpc_status_meets(t, other, "gc1", 6004), "another connection is nowhere yet");
    rpc_status_leave(t, out);
    rpc_status_claim(t, next, &vc, 1);
    ok(rpc_status_meets(t, next, "gc1", 6004),
       "a successor goes where its predecessor was told to");
    rpc_status_leave(t, in);
    rpc_status_leave(t, next);
    rpc_status_leave(t, other);
    in = row_of(t, RPC_INBOUND, &alice);
    rpc_status_claim(t, in, &vc, 0);
    ok(!rpc_status_meets(t, in, "gc1", 6004), "nothing is left of it");
    rpc_status_leave(t, in);
}

static void wait_all(const char *name)
{
    int status, bad = 0;

    while (wait(&status) > 0)
        bad += status != 0;
    is_int(bad, 0, "%s", name);
}

static void test_gone(rpc_status_t *t)
{
    int mine = row_of(t, RPC_INBOUND, &alice), i;
    pid_t pid = fork();

    if (pid == 0) {
        rpc_status_set_pid(t, (uint32_t)getpid());
        for (i = 0; i < 5; i++)
            row_of(t, RPC_OUTBOUND, &bob);
        _exit(0);
    }
    wait_all("a process ends, leaving its rows");
    is_int(rpc_status_count(t).channels, 6, "they count");
    rpc_status_gone(t, (uint32_t)pid, NULL, NULL);
    is_int(rpc_status_count(t).channels, 1, "until its end is told");
    rpc_status_leave(t, mine);
}

/* Runs in each of several processes. Returns how often more than MAX of them were admitted at
 * once. */
static int crowd(rpc_status_t *t, _Atomic uint32_t *inside, uint32_t max,
                 const rpc_status_limits_t *limits)
{
    rts_cookie_t vc = cookie(7);
    int i, bad = 0;

    for (i = 0; i < ROUNDS; i++) {
        rpc_reason_t why;
        int row = enter_as(t, RPC_INBOUND, &alice, limits, &why);

        if (row == RPC_STATUS_NO_ROW)
            continue;
        if (limits->channels || rpc_status_claim(t, row, &vc, 0) == RPC_REASON_NONE) {
            bad += atomic_fetch_add(inside, 1) >= max;
            sched_yield();
            atomic_fetch_sub(inside, 1);
        }
        rpc_status_leave(t, row);
    }
    return bad;
}

static void test_crowd(rpc_status_t *t, const char *name, uint32_t max,
                       const rpc_status_limits_t *limits, apr_pool_t *pool)
{
    _Atomic uint32_t *inside;
    apr_shm_t *shm;
    int i;

    if (!ok(apr_shm_create(&shm, sizeof(*inside), NULL, pool) == APR_SUCCESS, "shared memory"))
        return;
    inside = apr_shm_baseaddr_get(shm);
    for (i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            rpc_status_set_pid(t, (uint32_t)getpid());
            _exit(crowd(t, inside, max, limits) != 0);
        }
    }
    wait_all(name);
    is_int(rpc_status_count(t).channels, 0, "and nothing is left");
}

/* ---- processes that are killed ---- */

/* What one of these processes has at the moment, as far as the process itself knows. */
typedef struct victim {
    _Atomic uint32_t inside;    /* it has been admitted */
    /* a virtual connection that only this process has claimed; 0: none */
    _Atomic uint32_t vc;
} victim_t;

typedef struct prey {
    _Atomic uint32_t steps, bad;
    victim_t victims[PROCESSES];
} prey_t;

static const rpc_status_limits_t two_of_each = { .channels = 9, .of_user = 2, .of_address = 2,
                                                 .unpaired_of_target = 2 };

/* Are others admitted at the same time, either more than the limit allows or for the same virtual
 * connection? */
static int is_wrong(const prey_t *prey, uint32_t vc)
{
    uint32_t inside = 0, same = 0;
    int i;

    for (i = 0; i < PROCESSES; i++) {
        inside += atomic_load(&prey->victims[i].inside);
        same += vc && atomic_load(&prey->victims[i].vc) == vc;
    }
    return inside > 2 || same > 1;
}

static void live_until_killed(rpc_status_t *t, prey_t *prey, int number)
{
    victim_t *me = &prey->victims[number];
    unsigned seed = (unsigned)getpid();

    for (;; atomic_fetch_add(&prey->steps, 1)) {
        uint32_t vc = 1 + unit_random(&seed) % 3;
        rts_cookie_t c = cookie((int)vc);
        rpc_reason_t why;
        int row = enter_as(t, RPC_INBOUND, &alice, &two_of_each, &why);

        if (row == RPC_STATUS_NO_ROW)
            continue;
        if (!why) {
            atomic_store(&me->inside, 1);
            if (rpc_status_claim(t, row, &c, 0) == RPC_REASON_NONE)
                atomic_store(&me->vc, vc);
            if (is_wrong(prey, atomic_load(&me->vc)))
                atomic_fetch_add(&prey->bad, 1);
            rpc_status_bound(t, row, 3);
            if (vc == 1)
                rpc_status_opened(t, row);
            atomic_store(&me->vc, 0);
            atomic_store(&me->inside, 0);
        }
        rpc_status_leave(t, row);
    }
}

static pid_t start_victim(rpc_status_t *t, prey_t *prey, int number)
{
    pid_t pid = fork();

    if (pid)
        return pid;
    rpc_status_set_pid(t, (uint32_t)getpid());
    live_until_killed(t, prey, number);
    _exit(1);
}

static void kill_victim(rpc_status_t *t, prey_t *prey, int number, pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    atomic_store(&prey->victims[number].vc, 0);
    atomic_store(&prey->victims[number].inside, 0);
    rpc_status_gone(t, (uint32_t)pid, NULL, NULL);
}

/* Each process is killed at some instruction. An operation that a dead process has begun is in
 * nobody's way, and its channels no longer count. */
static void test_killed(rpc_status_t *t, apr_pool_t *pool)
{
    pid_t pids[PROCESSES];
    unsigned seed = 3;
    prey_t *prey;
    apr_shm_t *shm;
    int i, n;

    if (!ok(apr_shm_create(&shm, sizeof(*prey), NULL, pool) == APR_SUCCESS, "shared memory"))
        return;
    prey = apr_shm_baseaddr_get(shm);
    for (i = 0; i < PROCESSES; i++)
        pids[i] = start_victim(t, prey, i);
    for (n = 0; n < KILLS; n++) {
        uint32_t until = atomic_load(&prey->steps) + unit_random(&seed) % 50;

        while ((int32_t)(atomic_load(&prey->steps) - until) < 0)
            sched_yield();
        i = n % PROCESSES;
        kill_victim(t, prey, i, pids[i]);
        pids[i] = start_victim(t, prey, i);
    }
    for (i = 0; i < PROCESSES; i++)
        kill_victim(t, prey, i, pids[i]);
    is_int(prey->bad, 0,
           "%d processes killed: never too many were in, never two of one virtual connection",
           KILLS);
    is_int(rpc_status_count(t).channels, 0, "nothing of them is left");
    is_int(rpc_status_count(t).unpaired, 0, "nor unpaired");
    limit_is(t, "of a user, afterwards", &(rpc_status_limits_t){ .of_user = 2 }, 2, &alice,
             RPC_REASON_TOO_MANY_OF_USER);
    limit_is(t, "of an address, afterwards", &(rpc_status_limits_t){ .of_address = 2 }, 2, &alice,
             RPC_REASON_TOO_MANY_OF_ADDRESS);
    limit_is(t, "unpaired of a target, afterwards",
             &(rpc_status_limits_t){ .unpaired_of_target = 2 }, 2, &alice,
             RPC_REASON_TOO_MANY_UNPAIRED_OF_TARGET);
}

/* ---- many ---- */

static int enter_number(rpc_status_t *t, int n, const rpc_status_limits_t *limits,
                        rpc_reason_t *why)
{
    char user[16];
    rts_address_t address = { 0, { 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n } };
    rpc_status_who_t who = { RPC_INBOUND, user, user, &address, "mail[6001]" };

    snprintf(user, sizeof(user), "%d", n);
    return rpc_status_enter(t, &who, limits, why);
}

/* Limits and cookies are exact for any number of rows. */
static void test_many(rpc_status_t *t)
{
    static const rpc_status_limits_t limits = {
        .channels = MANY + 1, .of_user = 1, .of_address = 1,
        .unpaired_of_user = 1, .unpaired_of_address = 1,
    };
    static int rows[MANY];
    int n, bad = 0, known = 0, refused = 0;
    rpc_reason_t why;

    for (n = 0; n < MANY; n++) {
        rts_cookie_t vc = cookie(n);

        rows[n] = enter_number(t, n, &limits, &why);
        bad += rows[n] == RPC_STATUS_NO_ROW || why
            || rpc_status_claim(t, rows[n], &vc, 0) != RPC_REASON_NONE;
    }
    is_int(bad, 0, "%d users at their addresses, each with a virtual connection", MANY);
    is_int(rpc_status_count(t).channels, MANY, "are counted");
    is_int(rpc_status_count(t).unpaired, MANY, "none is opened");
    for (n = 0; n < MANY; n += 97) {
        int row = enter_number(t, n, &limits, &why);

        refused += why == RPC_REASON_TOO_MANY_OF_USER;
        if (row != RPC_STATUS_NO_ROW)
            rpc_status_leave(t, row);
        rpc_status_opened(t, rows[n]);
        known++;
    }
    is_int(refused, known, "a second channel of a user is refused");
    is_int(rpc_status_count(t).unpaired, MANY - known, "what is opened is not unpaired any more");
    for (n = refused = 0; n < MANY; n += 97) {
        int thief = row_of(t, RPC_OUTBOUND, &bob);
        rts_cookie_t vc = cookie(n);

        refused += rpc_status_claim(t, thief, &vc, 0) == RPC_REASON_PEER_MISMATCH;
        rpc_status_leave(t, thief);
    }
    is_int(refused, known, "and so is another user's half of a virtual connection");
    ok(enter_as(t, RPC_OUTBOUND, &alice, &limits, &why) != RPC_STATUS_NO_ROW, "one more may come");
    enter_as(t, RPC_OUTBOUND, &bob, &limits, &why);
    is_reason(why, RPC_REASON_TOO_MANY_CHANNELS, "and then no other");
    rpc_status_gone(t, (uint32_t)getpid(), NULL, NULL);
    is_int(rpc_status_count(t).channels, 0, "all are gone with their process");
}

/* What the table knows: 100 for a bind, plus the level; -1 when it knows nothing. */
static int recalls(rpc_status_t *t, int row)
{
    unsigned level;
    int bound;

    return rpc_status_recall(t, row, &bound, &level) ? (bound ? 100 : 0) + (int)level : -1;
}

static int claimed(rpc_status_t *t, rpc_role_t role, const person_t *p, int n, int replacing)
{
    rts_cookie_t vc = cookie(n);
    int row = row_of(t, role, p);

    is_reason(rpc_status_claim(t, row, &vc, replacing), RPC_REASON_NONE, "claimed");
    return row;
}

/* What a successor learns about the binds of its predecessor. */
static void test_binds(rpc_status_t *t)
{
    int first = claimed(t, RPC_INBOUND, &alice, 1, 0), out = claimed(t, RPC_OUTBOUND, &alice, 1, 0);
    int stranger = claimed(t, RPC_INBOUND, &bob, 2, 0), early, late, third;

    is_int(recalls(t, first), 0, "nothing is bound");
    early = claimed(t, RPC_INBOUND, &alice, 1, 1);
    is_int(recalls(t, early), 0, "nor for a successor");
    rpc_status_bound(t, first, 0);
    is_int(recalls(t, early), 100, "which hears of a bind, without a level");
    rpc_status_bound(t, first, 5);
    rpc_status_bound(t, first, 2);
    is_int(recalls(t, early), 105, "and of the highest level");
    late = claimed(t, RPC_INBOUND, &alice, 1, 1);
    is_int(recalls(t, late), 105, "as one does that comes afterwards");
    is_int(recalls(t, stranger), 0, "another connection's binds are its own");
    rpc_status_leave(t, first);
    rpc_status_bound(t, early, 6);
    is_int(recalls(t, late), 106, "a successor's binds count, too");
    rpc_status_leave(t, early);
    rpc_status_leave(t, late);
    third = claimed(t, RPC_INBOUND, &alice, 1, 1);
    is_int(recalls(t, third), -1, "whose predecessor is elsewhere knows nothing");
    rpc_status_bound(t, third, 6);
    is_int(recalls(t, third), -1, "whatever it binds");
    rpc_status_leave(t, third);
    third = claimed(t, RPC_INBOUND, &alice, 1, 0);
    is_int(recalls(t, third), 0, "a row that was given back has forgotten all");
    rpc_status_leave(t, third);
    rpc_status_leave(t, out);
    rpc_status_leave(t, stranger);
}

int main(void)
{
    apr_pool_t *pool;
    rpc_status_t *t;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (!ok(rpc_status_create(&t, pool) == APR_SUCCESS, "a table"))
        return unit_done();
    rpc_status_set_pid(t, (uint32_t)getpid());
    test_cookies(t);
    test_refused(t);
    test_limits(t);
    test_unpaired(t);
    test_shares(t);
    test_who(t);
    test_successors(t);
    test_places(t);
    test_binds(t);
    test_gone(t);
    test_crowd(t, "of several processes' duplicates never two are in", 1, &no_limits, pool);
    test_crowd(t, "nor more than a limit allows", 2, &(rpc_status_limits_t){ .channels = 2 }, pool);
    test_crowd(t, "nor more than a user's share", 2,
               &(rpc_status_limits_t){ .channels = 9, .unpaired_of_user = 2 }, pool);
    test_crowd(t, "nor more than an address's", 2,
               &(rpc_status_limits_t){ .channels = 9, .unpaired_of_address = 2 }, pool);
    test_crowd(t, "nor more than a target's", 2,
               &(rpc_status_limits_t){ .channels = 9, .unpaired_of_target = 2 }, pool);
    test_most(pool);
    test_killed(t, pool);
    test_many(t);
    apr_terminate();
    return unit_done();
}
