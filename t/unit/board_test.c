/* board_test: what people may know of live channels, and the sums of virtual connections, while
 * processes race and die.
 */
#include "shared/board.h"
#include "shared/mishaps.h"
#include "shared/sums.h"
#include "shared/tally.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>

#include "unit.h"

#define ROWS 2048
#define PROCESSES 4
#define ROUNDS 3000
#define KILLS 100

static rpc_board_row_t row_of(const char *user, int64_t since)
{
    rpc_board_row_t row = { .since = since, .role = RPC_INBOUND, .pid = (uint32_t)getpid() };

    snprintf(row.user, sizeof(row.user), "%s", user);
    snprintf(row.client, sizeof(row.client), "192.0.2.7");
    snprintf(row.target, sizeof(row.target), "mail:6001");
    return row;
}

static void test_row(rpc_board_t *b)
{
    rpc_board_row_t first = row_of("alice", 1000);
    rpc_board_view_t view;
    rpc_metered_t m, other;
    rpc_board_bytes_t total;

    ok(!rpc_board_read(b, 3, &view), "a row that was never used is free");
    m = rpc_board_enter(b, 3, &first);
    ok(rpc_board_read(b, 3, &view), "it is taken");
    is_str(view.row.user, "alice", "by alice");
    is_int(view.row.state, RPC_BOARD_BEGINNING, "who has said nothing");
    rpc_board_claimed(b, 3, 0xabcd, 900, 2, 5);
    rpc_board_reached(b, 3, "mbx1[6001]");
    rpc_board_opened(b, 3);
    rpc_board_refused(b, 3, 4);
    rpc_meter_show(&m, 76, 1000, 2000);
    rpc_board_read(b, 3, &view);
    is_int((int)view.row.connection, 0xabcd, "her virtual connection");
    is_str(view.row.server, "mbx1[6001]", "at this server");
    is_int(view.row.state, RPC_BOARD_OPEN, "is open");
    is_int(view.row.refused, 4, "some binds were refused");
    is_int(view.row.successors, 2, "it has been replaced");
    is_int((int)view.in, 76, "bytes in");
    is_int((int)view.out, 1000, "and out");
    is_int((int)view.heard, 2000, "when she said something");
    rpc_board_leave(b, 3);
    ok(!rpc_board_read(b, 3, &view), "the row is free again");
    first = row_of("bob", 3000);
    other = rpc_board_enter(b, 3, &first);
    rpc_board_read(b, 3, &view);
    is_int((int)(view.in + view.out), 0, "the next channel begins at nothing");
    is_str(view.row.server, "", "and at no server");
    ok(m.serial != other.serial, "with a serial number of its own");
    rpc_meter_show(&other, 4, 5, 0);
    total = rpc_board_total(b);
    is_int((int)total.in, 80, "but the sum of all goes on: in");
    is_int((int)total.out, 1005, "and out");
    rpc_board_end(b, 3, m.serial);
    ok(!rpc_meter_verdict(&other, 1), "an order for the channel before is not for this one");
    rpc_board_end(b, 3, other.serial);
    ok(rpc_meter_verdict(&other, 1) == RPC_REASON_ADMINISTRATOR, "its own is");
    rpc_board_leave(b, 3);
    ok(!rpc_board_enter(b, ROWS, &first).meter, "a row beyond the board is not shown");
}

static void test_long(rpc_board_t *b)
{
    rpc_board_row_t first = row_of("x", 1);
    rpc_board_view_t view;
    char server[300];

    memset(server, 's', sizeof(server) - 1);
    server[sizeof(server) - 1] = '\0';
    rpc_board_enter(b, 1, &first);
    rpc_board_reached(b, 1, server);
    rpc_board_read(b, 1, &view);
    is_int((int)strlen(view.row.server), RPC_BOARD_SERVER - 1, "a text that is too long is cut");
    strcpy(server + 255, "[65535]");
    rpc_board_reached(b, 1, server);
    rpc_board_read(b, 1, &view);
    is_str(view.row.server, server, "the longest name of a server is not");
    rpc_board_leave(b, 1);
}

/* Texts of all lengths, in a row and beyond its own room. */
static void test_texts(rpc_board_t *b)
{
    rpc_board_row_t row = row_of("", 1);
    rpc_board_view_t view;
    int n, wrong = 0;

    for (n = 0; n < RPC_BOARD_SERVER; n++) {
        char server[RPC_BOARD_SERVER] = "";

        memset(server, 's', (size_t)n);
        snprintf(row.user, sizeof(row.user), "%.*s", n, server);
        snprintf(row.vhost, sizeof(row.vhost), "%.*s", n / 2, server);
        rpc_board_enter(b, 2, &row);
        rpc_board_reached(b, 2, server);
        wrong += !rpc_board_read(b, 2, &view) || strcmp(view.row.user, row.user) != 0
              || strcmp(view.row.client, row.client) != 0 || strcmp(view.row.vhost, row.vhost) != 0
              || strcmp(view.row.target, row.target) != 0 || strcmp(view.row.server, server) != 0;
    }
    is_int(wrong, 0, "texts of any length are read as they were written");
    rpc_board_leave(b, 2);
}

/* KB of shared memory that this process has touched. */
static long shared_kb(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    long kb = -1;

    while (f && fgets(line, sizeof(line), f))
        sscanf(line, "RssShmem: %ld", &kb);
    if (f)
        fclose(f);
    return kb;
}

static void test_memory(apr_pool_t *pool)
{
    long before = shared_kb(), after;
    rpc_board_row_t row = row_of("EXAMPLE\\a.user", 1);
    rpc_board_t *b;
    int i;

    if (rpc_board_create(&b, ROWS, pool) != APR_SUCCESS)
        return;
    for (i = 0; i < 1000; i++) {
        rpc_board_enter(b, i, &row);
        rpc_board_reached(b, i, "mailbox-server-1.example.com[6001]");
    }
    after = shared_kb();
    ok(after - before > 0 && after - before <= 350,
       "1000 rows with texts of ordinary lengths take %ld KB of memory", after - before);
}

/* Is the row one that a writer has written, and not a mixture? */
static int is_whole(const rpc_board_row_t *row)
{
    size_t i;

    for (i = 1; i < RPC_BOARD_USER - 1; i++)
        if (row->user[i] != row->user[0])
            return 0;
    for (i = 0; i < RPC_BOARD_SERVER - 1; i++)
        if (row->server[i] && row->server[i] != row->user[0])
            return 0;
    return (row->connection & 0xff) == (uint8_t)row->user[0] || !row->connection;
}

/* Takes and gives back row 7 with one letter everywhere, then another. */
static void write_rows(rpc_board_t *b, int rounds)
{
    int n;

    for (n = 0; rounds < 0 || n < rounds; n++) {
        rpc_board_row_t row = { .since = n + 1, .pid = (uint32_t)getpid() };
        char letter = (char)('a' + n % 26), server[RPC_BOARD_SERVER];

        memset(row.user, letter, sizeof(row.user) - 1);
        memset(server, letter, sizeof(server) - 1);
        server[sizeof(server) - 1] = '\0';
        rpc_board_enter(b, 7, &row);
        rpc_board_reached(b, 7, server);
        rpc_board_claimed(b, 7, (uint64_t)n << 8 | (uint8_t)letter, 1, 0, 0);
        rpc_board_leave(b, 7);
    }
}

/* A reader beside a writer, which is killed now and then, sees whole rows only; and the row that it
 * leaves is used again. */
static void test_dying_writer(rpc_board_t *b)
{
    int kills, bad = 0, seen = 0, here;
    rpc_board_view_t view;

    for (kills = 0; kills < KILLS; kills++) {
        pid_t pid = fork();

        if (!pid) {
            write_rows(b, -1);
            _exit(0);
        }
        for (here = 0; here < 50;) {
            if (!rpc_board_read(b, 7, &view)) {
                sched_yield();
                continue;
            }
            here++;
            bad += !is_whole(&view.row);
        }
        seen += here;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        rpc_board_read_dead(b, 7, &view);   /* may be anything, but nobody crashes */
        rpc_board_leave(b, 7);
        bad += rpc_board_read(b, 7, &view);
    }
    is_int(bad, 0,
           "%d rows were read while they were written: never half a row, nor one of the dead",
           seen);
    write_rows(b, 10);
    ok(!rpc_board_read(b, 7, &view), "the row is used on");
}

/* ---- sums ---- */

#define CROWD 20000

static uint64_t id_of(int i)
{
    return (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
}

/* Few take the first slots, which lie on few pages; many find room all the same. */
static void test_sums_crowd(rpc_sums_t *s)
{
    static uint32_t slots[CROWD];
    uint32_t highest = 0;
    int i, same = 0, last = 0;
    rpc_sum_t sum;

    for (i = 0; i < CROWD; i++) {
        slots[i] = rpc_sums_hold(s, id_of(i), 0, 100, &sum);
        if (i < 500 && slots[i] > highest)
            highest = slots[i];
    }
    ok(highest && highest <= 4096, "500 virtual connections have slots up to %u", highest);
    for (i = 0; i < CROWD; i++)
        same += slots[i] && rpc_sums_hold(s, id_of(i), 0, 100, &sum) == slots[i];
    is_int(same, CROWD, "the other halves of many find theirs");
    for (i = 0; i < CROWD; i++)
        last += !rpc_sums_release(s, slots[i], 1, 0, RPC_REASON_CLIENT_CLOSED, &sum)
            && rpc_sums_release(s, slots[i], 2, 0, RPC_REASON_CLIENT_CLOSED, &sum) && sum.in == 3;
    is_int(last, CROWD, "and the last of each has the sums");
}

static void test_sums(rpc_sums_t *s)
{
    rpc_sum_t sum;
    uint32_t in = rpc_sums_hold(s, 42, 0, 100, &sum), out, next;

    ok(in != 0, "a virtual connection has a slot");
    is_int((int)sum.began, 100, "it has just begun");
    out = rpc_sums_hold(s, 42, 0, 150, &sum);
    is_int((int)out, (int)in, "its other half has the same");
    is_int((int)sum.began, 100, "and learns when it began");
    rpc_sums_opened(s, in);
    next = rpc_sums_hold(s, 42, 1, 200, &sum);
    is_int((int)sum.successors, 1, "a successor is counted");
    ok(!rpc_sums_release(s, in, 10, 1, RPC_REASON_RECYCLED, &sum),
       "its predecessor is not the last");
    ok(!rpc_sums_release(s, out, 20, 2, RPC_REASON_CLIENT_CLOSED, &sum), "nor is the other half");
    ok(rpc_sums_release(s, next, 30, 3, RPC_REASON_SERVER_CLOSED, &sum), "but the successor is");
    is_int((int)sum.in, 60, "all bytes in");
    is_int((int)sum.out, 6, "and out");
    is_int((int)sum.opened, 1, "it was open");
    is_str(rpc_reason_info(sum.reason)->token, "client-closed",
           "and ended as its first channel did that was not replaced");
    in = rpc_sums_hold(s, 42, 0, 300, &sum);
    is_int((int)(sum.began + (int64_t)sum.in), 300, "then all begins anew");
    rpc_sums_release(s, in, 0, 0, RPC_REASON_CLIENT_CLOSED, &sum);
}

/* Shared by the processes of a race. */
typedef struct race {
    _Atomic int told, bytes, go;
} race_t;

static void race(rpc_sums_t *s, race_t *shared, int seed)
{
    rpc_sum_t sum;
    int n;

    while (!atomic_load(&shared->go))
        ;
    for (n = 0; n < ROUNDS; n++) {
        uint64_t id = (uint64_t)(1 + (n * 7 + seed) % 3);
        uint32_t slot = rpc_sums_hold(s, id, 0, 1, &sum);

        if (rpc_sums_release(s, slot, 1, 0, RPC_REASON_CLIENT_CLOSED, &sum)) {
            atomic_fetch_add(&shared->told, 1);
            atomic_fetch_add(&shared->bytes, (int)sum.in);
        }
    }
}

/* Processes hold and release the same three: no byte is lost or told twice. */
static void test_sums_race(rpc_sums_t *s)
{
    race_t *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                          -1, 0);
    rpc_sum_t sum;
    uint32_t slot;
    int i;

    for (i = 0; i < PROCESSES; i++) {
        if (!fork()) {
            race(s, shared, i);
            _exit(0);
        }
    }
    atomic_store(&shared->go, 1);
    for (i = 0; i < PROCESSES; i++)
        wait(NULL);
    is_int(shared->bytes, PROCESSES * ROUNDS, "what is told is all that was");
    ok(shared->told > 0, "in %d lines", shared->told);
    slot = rpc_sums_hold(s, 1, 0, 9, &sum);
    is_int((int)sum.began, 9, "and nobody holds what all have released");
    rpc_sums_release(s, slot, 0, 0, RPC_REASON_CLIENT_CLOSED, &sum);
    munmap(shared, sizeof(*shared));
}

/* ---- mishaps ---- */

static void note(rpc_mishaps_t *m, const char *user, const char *target, apr_time_t now)
{
    rpc_mishap_texts_t texts = { user, "192.0.2.7", target, NULL, "why" };

    rpc_mishaps_note(m, (uint32_t)getpid(), RPC_REASON_TARGET_REFUSED, 7, &texts, now);
}

static void test_mishaps(rpc_mishaps_t *m)
{
    static rpc_mishap_t seen[RPC_MISHAPS];
    char target[32];
    int i;

    is_int(rpc_mishaps_read(m, seen), 0, "nothing has failed");
    note(m, "bob", "exch9:6001", 100);
    note(m, "alice", "exch1:6001", 200);
    for (i = 0; i < 500; i++)
        note(m, "bob", "exch9:6001", 300);
    is_int(rpc_mishaps_read(m, seen), 2, "what fails again has one entry");
    is_str(seen[0].user, "bob", "the latest is first");
    is_int((int)seen[0].times, 501, "and says how often");
    is_int((int)seen[0].first, 100, "since when");
    is_int((int)seen[0].last, 300, "and when the last time was");
    is_str(seen[1].user, "alice", "nobody is driven out by it");
    for (i = 0; i < 1000; i++) {
        snprintf(target, sizeof(target), "t%d:1", i);
        note(m, "carol", target, 1000 + i);
    }
    is_int(rpc_mishaps_read(m, seen), RPC_MISHAPS_SHOWN, "others push out the oldest");
    is_str(seen[0].target, "t999:1", "the last is there");
}

/* Writers that die leave no entry that nobody can use, and none that is half. */
static void test_dying_mishaps(rpc_mishaps_t *m)
{
    static rpc_mishap_t seen[RPC_MISHAPS];
    int kills, i, n, bad = 0;

    for (kills = 0; kills < KILLS; kills++) {
        pid_t pid = fork();

        if (!pid) {
            char text[80];

            for (n = 0;; n++) {
                memset(text, 'a' + n % 26, 60);
                snprintf(text + 60, 20, "%d", n);
                note(m, text, text, n);
            }
        }
        for (n = rpc_mishaps_read(m, seen), i = 0; i < n; i++)
            bad += strncmp(seen[i].user, seen[i].target, 60) != 0 && seen[i].user[0] != 'c';
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        rpc_mishaps_gone(m, (uint32_t)pid);
    }
    is_int(bad, 0, "no entry is a mixture");
    for (i = 0; i < RPC_MISHAPS; i++) {
        char target[32];

        snprintf(target, sizeof(target), "after%d:1", i);
        note(m, "dave", target, 1000000000 + i);
    }
    n = rpc_mishaps_read(m, seen);
    for (i = bad = 0; i < n; i++)
        bad += strcmp(seen[i].user, "dave") != 0;
    is_int(bad, 0, "and all entries can be written");
}

int main(void)
{
    apr_pool_t *pool;
    rpc_board_t *board;
    rpc_sums_t *sums;
    rpc_mishaps_t *mishaps;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (!ok(rpc_board_create(&board, ROWS, pool) == APR_SUCCESS
            && rpc_sums_create(&sums, pool) == APR_SUCCESS
            && rpc_mishaps_create(&mishaps, pool) == APR_SUCCESS, "the memory"))
        return unit_done();
    test_row(board);
    test_long(board);
    test_texts(board);
    test_memory(pool);
    test_dying_writer(board);
    test_sums(sums);
    test_sums_crowd(sums);
    test_sums_race(sums);
    test_mishaps(mishaps);
    test_dying_mishaps(mishaps);
    apr_terminate();
    return unit_done();
}
