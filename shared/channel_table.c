/* shared/channel_table.c: a table without locks. A child may die at any moment, and a lock that it
 * holds would then never be released.
 *
 *   enter: raise the high-water mark above a free row; searches look at rows below the mark only
 *          take the row, by compare-and-swap on its pid
 *          write user, address and target, then count; over a limit: give the row back
 *   claim: write the cookie, then look for the same cookie in other rows
 *
 * None of this visits all rows. An index (shared/row_index.h) finds the rows of a user, an address,
 * a target or a cookie. Three bitmaps with one bit per row say which rows are taken, counted and
 * unpaired: for a hundred thousand rows each is 12 KB. The index and the bits follow from the row.
 * They are undone before the row is given back, and when a process is dead any other process can
 * undo those of its rows.
 *
 * Why no limit is exceeded: each newcomer first inserts itself and then looks. All accesses are
 * sequentially consistent, so there is one order of them that every thread agrees on. Let A and B
 * be newcomers that exclude each other. One of the two insertions (mark and fields) is the second
 * in that order. Its owner begins to look after both insertions, so it sees the other newcomer. So
 * the two are never both admitted. If both look after both insertions, each sees the other and both
 * are refused; clients try again. Only a newcomer ever withdraws: an established channel looks no
 * more, so it cannot be refused, and its cookie cannot be stolen. Limits are never exceeded, but
 * when many newcomers come at the limit, fewer may be admitted for a moment than the limit allows.
 * This holds for unpaired channels, too: a row is unpaired from its insertion and becomes paired
 * once, which only makes room; what it is counted under never changes while it is in use. Acquire
 * and release are not enough, because they do not order a write of one's own before a read of
 * another's data. A channel looks twice in its life, so the cost of the fences does not matter.
 *
 * A newcomer beyond a limit may be the successor of a channel that counts for this limit. Only its
 * first PDU tells. Until then it waits in a row that is not counted; there are as many such rows as
 * there are channels of the same identity and role. It is judged when it makes its claim. So only
 * successors go beyond a limit, and their predecessors end soon.
 *
 * When a row is given back, its cookie is cleared first and its pid last. A reader that finds its
 * cookie in a row reads the rest and then reads the cookie again. If the cookie is still there, all
 * that was read belongs to one channel, or to another channel with this cookie, which is as good.
 *
 * Each column is an array of its own, so that a small table takes few pages.
 */
#include "shared/channel_table.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <apr_general.h>
#include <apr_shm.h>
#include <apr_siphash.h>

#include "base/who.h"
#include "shared/row_index.h"

/* RpcMaxChannels may be raised by a restart, so there are rows for its maximum, and for those
 * that come on top and are refused. Pages no row of which was ever used take no memory. */
#define ROWS RPC_STATUS_ROWS
#define WORDS (ROWS / 64)   /* of bits, one a row */
#define LINE_SIZE 64        /* of the cache */
#define HEAD_SIZE (2 * LINE_SIZE)   /* of the shared memory: the mark, and what there was at most */
#define ROW_SIZE (6 * sizeof(shared64_t) + 3 * sizeof(shared32_t))
#define NAME_MAX_HASHED 255 /* bytes of a host's name */
#define TOLD 65536          /* slots */
#define TABLE_SIZE (HEAD_SIZE + ROWS * ROW_SIZE + (TOLD + 3 * WORDS) * sizeof(shared64_t))
#define TOLD_UNIT apr_time_from_sec(30)
#define TOLD_FOR 6          /* units: halves may fail as far apart as RpcSetupTimeout */
/* The state of a row. */
#define OPENED 1u
#define ROLE_SHIFT 1        /* the role + 1 */
#define ROLE_MASK (3u << ROLE_SHIFT)
#define WAITS 8u            /* beyond a limit, until its first PDU says that it is a successor */
#define LIMIT_SHIFT 8       /* which limit: an rpc_reason_t */
/* What the client has bound on the virtual connection of an inbound row. */
#define KNOWN 1u            /* all of it was seen in this table */
#define BOUND 2u
#define LEVEL_MAX 15u
#define LEVEL(n) (256u << (n))
/* Of a channel beyond a limit: one that goes, and one that is replaced before it has begun. */
#define PREDECESSORS_MAX 2

_Static_assert(RPC_STATUS_ROWS <= RPC_ROW_INDEX_MAX, "the index has room for all");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
               "a lock would be one process's alone");

typedef _Atomic uint64_t shared64_t;
typedef _Atomic uint32_t shared32_t;

/* The kinds of the index, and what the key of each is. LIVE and WAITING: of an identity and
 * role, the rows that may be succeeded, and those that may be successors. */
typedef enum {
    BY_COOKIE, BY_USER, BY_ADDRESS,
    UNPAIRED_BY_USER, UNPAIRED_BY_ADDRESS, UNPAIRED_BY_TARGET,
    LIVE, WAITING,
    INDEX_KINDS
} index_kind_t;

_Static_assert(INDEX_KINDS <= RPC_ROW_INDEX_KINDS, "the index has room for all");
_Static_assert(RPC_LIMITS * sizeof(shared32_t) <= LINE_SIZE, "all that is counted is in one line");

struct rpc_status {
    uint8_t key[APR_SIPHASH_KSIZE];
    uint32_t pid;
    const rpc_farm_t *farm; /* NULL: there are no other machines */
    /* Shared. No row at or above *MARK was ever taken. */
    shared32_t *mark;
    shared32_t *most;       /* RPC_LIMITS of them */
    /* Columns; 0: none. */
    shared64_t *cookie, *identity, *user, *address, *target, *place;
    shared64_t *told;       /* failures of virtual connections that have their line */
    shared32_t *owner;      /* pid; 0: the row is free */
    shared32_t *state;      /* see above */
    shared32_t *binds;      /* see above */
    /* Bits. */
    shared64_t *taken;
    shared64_t *counted;    /* of these: all that do not wait */
    shared64_t *unpaired;   /* of these: all that are not opened */
    rpc_row_index_t index;
};

apr_status_t rpc_status_create(rpc_status_t **out, apr_pool_t *pool)
{
    rpc_status_t *status = apr_pcalloc(pool, sizeof(*status));
    apr_status_t rv = apr_generate_random_bytes(status->key, sizeof(status->key));
    apr_shm_t *shm;
    char *base;

    if (rv == APR_SUCCESS)      /* anonymous, so zeroed */
        rv = apr_shm_create(&shm, TABLE_SIZE + rpc_row_index_size(ROWS), NULL, pool);
    if (rv != APR_SUCCESS)
        return rv;
    base = apr_shm_baseaddr_get(shm);
    status->mark = (shared32_t *)base;
    status->most = (shared32_t *)(base + LINE_SIZE);
    status->cookie = (shared64_t *)(base + HEAD_SIZE);
    status->identity = status->cookie + ROWS;
    status->user = status->identity + ROWS;
    status->address = status->user + ROWS;
    status->target = status->address + ROWS;
    status->place = status->target + ROWS;
    status->owner = (shared32_t *)(status->place + ROWS);
    status->state = status->owner + ROWS;
    status->binds = status->state + ROWS;
    status->told = (shared64_t *)(status->binds + ROWS);
    status->taken = status->told + TOLD;
    status->counted = status->taken + WORDS;
    status->unpaired = status->counted + WORDS;
    rpc_row_index_init(&status->index, base + TABLE_SIZE, ROWS);
    *out = status;
    return APR_SUCCESS;
}

void rpc_status_set_pid(rpc_status_t *status, uint32_t pid)
{
    status->pid = pid;
}

void rpc_status_join(rpc_status_t *status, const rpc_farm_t *farm)
{
    status->farm = farm;
    if (farm)
        memcpy(status->key, farm->key, sizeof(status->key));
}

/* ---- hashes ---- */

/* Keyed, so that nobody can make names or cookies that collide. Never 0. */
static uint64_t status_hash(const rpc_status_t *status, const void *data, size_t size)
{
    uint64_t h = apr_siphash24(data, size, status->key);

    return h ? h : 1;
}

uint64_t rpc_status_hash_cookie(const rpc_status_t *status, const rts_cookie_t *cookie)
{
    return status_hash(status, cookie->b, sizeof(cookie->b));
}

uint64_t rpc_status_name_row(const rpc_status_t *status, int row, apr_time_t now)
{
    const int64_t all[] = { row, status->pid, now };

    return status_hash(status, all, sizeof(all));
}

static uint64_t hash_user(const rpc_status_t *status, const char *user)
{
    return *user ? status_hash(status, user, strlen(user)) : 0;
}

static uint64_t hash_address(const rpc_status_t *status, const rts_address_t *address)
{
    rpc_who_network_t network = rpc_who_network(address->addr, address->ipv6 ? 16 : 4);

    return status_hash(status, &network, sizeof(network));
}

/* In any case of letters. */
static uint64_t hash_name(const rpc_status_t *status, const char *name)
{
    char lower[NAME_MAX_HASHED + 8];
    size_t n;

    for (n = 0; name[n] && n < sizeof(lower); n++)
        lower[n] = name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] + 'a' - 'A') : name[n];
    return status_hash(status, lower, n);
}

static uint64_t hash_place(const rpc_status_t *status, const char *host, uint16_t port)
{
    char place[NAME_MAX_HASHED + 8];

    snprintf(place, sizeof(place), "%u %.*s", port, NAME_MAX_HASHED, host);
    return hash_name(status, place);
}

/* ---- bits ---- */

static void set_bit(shared64_t *bits, uint32_t row)
{
    atomic_fetch_or(&bits[row / 64], (uint64_t)1 << row % 64);
}

static void clear_bit(shared64_t *bits, uint32_t row)
{
    atomic_fetch_and(&bits[row / 64], ~((uint64_t)1 << row % 64));
}

static uint32_t count_bits(const rpc_status_t *status, const shared64_t *bits)
{
    uint32_t word, words = (atomic_load(status->mark) + 63) / 64, n = 0;

    for (word = 0; word < words; word++)
        n += (uint32_t)__builtin_popcountll(atomic_load(&bits[word]));
    return n;
}

/* ---- rows ---- */

/* The bit follows the pid, so a process that dies between the two leaves nothing that has no
 * owner. */
static int take_row(rpc_status_t *status)
{
    uint32_t word, row, mark = atomic_load(status->mark);

    for (word = 0; word < WORDS; word++) {
        uint64_t free_rows = ~atomic_load(&status->taken[word]);

        for (; free_rows; free_rows &= free_rows - 1) {
            uint32_t nobody = 0;

            row = word * 64 + (uint32_t)__builtin_ctzll(free_rows);
            if (atomic_load(&status->owner[row]))
                continue;
            while (mark <= row && !atomic_compare_exchange_weak(status->mark, &mark, row + 1))
                ;
            if (atomic_compare_exchange_strong(&status->owner[row], &nobody, status->pid)) {
                set_bit(status->taken, row);
                return (int)row;
            }
        }
    }
    return RPC_STATUS_NO_ROW;
}

static void no_longer_unpaired(rpc_status_t *status, uint32_t row)
{
    clear_bit(status->unpaired, row);
    rpc_row_index_remove(&status->index, UNPAIRED_BY_USER, row);
    rpc_row_index_remove(&status->index, UNPAIRED_BY_ADDRESS, row);
    rpc_row_index_remove(&status->index, UNPAIRED_BY_TARGET, row);
}

void rpc_status_leave(rpc_status_t *status, int mine)
{
    uint32_t row = (uint32_t)mine;
    unsigned kind;

    atomic_store(&status->cookie[row], 0);
    for (kind = 0; kind < INDEX_KINDS; kind++)
        rpc_row_index_remove(&status->index, kind, row);
    clear_bit(status->unpaired, row);
    clear_bit(status->counted, row);
    atomic_store(&status->identity[row], 0);
    atomic_store(&status->user[row], 0);
    atomic_store(&status->address[row], 0);
    atomic_store(&status->target[row], 0);
    atomic_store(&status->place[row], 0);
    atomic_store(&status->state[row], 0);
    atomic_store(&status->binds[row], 0);
    clear_bit(status->taken, row);
    atomic_store(&status->owner[row], 0);
}

void rpc_status_gone(rpc_status_t *status, uint32_t pid, void (*lost)(void *ctx, int row),
                     void *ctx)
{
    uint32_t row, mark = atomic_load(status->mark);

    for (row = 0; row < mark; row++) {
        if (atomic_load(&status->owner[row]) != pid)
            continue;
        if (lost)
            lost(ctx, (int)row);
        rpc_status_leave(status, (int)row);
    }
}

void rpc_status_opened(rpc_status_t *status, int row)
{
    atomic_fetch_or(&status->state[row], OPENED);
    no_longer_unpaired(status, (uint32_t)row);
}

/* ---- other machines ---- */

/* Anonymous users have no name, but are one another's. */
#define OWNER_ANONYMOUS 1u

/* How many rows of KIND with KEY there are at other machines. */
static uint64_t count_elsewhere(const rpc_status_t *status, index_kind_t kind, uint64_t key)
{
    static const rpc_farm_kind_t kinds[] = {
        [BY_USER] = RPC_FARM_USER, [UNPAIRED_BY_USER] = RPC_FARM_USER,
        [BY_ADDRESS] = RPC_FARM_ADDRESS, [UNPAIRED_BY_ADDRESS] = RPC_FARM_ADDRESS,
        [UNPAIRED_BY_TARGET] = RPC_FARM_TARGET,
    };
    rpc_farm_entry_t entry;

    if (!rpc_farm_find(status->farm, kinds[kind], key, &entry))
        return 0;
    return kind == BY_USER || kind == BY_ADDRESS ? entry.a : entry.b;
}

/* How many channels there are elsewhere that row MINE may succeed, at most. */
static uint64_t count_kin_elsewhere(const rpc_status_t *status, uint32_t mine)
{
    uint64_t user = atomic_load(&status->user[mine]);

    return user ? count_elsewhere(status, BY_USER, user)
                : count_elsewhere(status, BY_ADDRESS, atomic_load(&status->address[mine]));
}

static uint64_t owner_of(const rpc_status_t *status, uint32_t row)
{
    uint64_t user = atomic_load(&status->user[row]);

    return user ? user : OWNER_ANONYMOUS;
}

/* 1: COOKIE is live at another machine, in MINE's role. *REASON: and is another user's. When
 * machines disagree, it is nobody's: who came first is not known. */
static int claimed_elsewhere(const rpc_status_t *status, uint32_t mine, uint64_t cookie,
                             rpc_reason_t *reason)
{
    rpc_farm_entry_t claim;

    if (!rpc_farm_find(status->farm, RPC_FARM_COOKIE, cookie, &claim) || !claim.a)
        return 0;
    if (claim.a != owner_of(status, mine))
        *reason = RPC_REASON_PEER_MISMATCH;
    return (claim.b & (atomic_load(&status->state[mine]) & ROLE_MASK)) != 0;
}

uint32_t rpc_status_mark(const rpc_status_t *status)
{
    return atomic_load(status->mark);
}

int rpc_status_tell(rpc_status_t *status, uint32_t row, rpc_farm_entry_t to[RPC_STATUS_TOLD])
{
    uint32_t state = atomic_load(&status->state[row]);
    uint64_t unpaired = !(state & OPENED), cookie = atomic_load(&status->cookie[row]);
    const rpc_farm_entry_t all[RPC_STATUS_TOLD] = {
        { atomic_load(&status->user[row]), 1, unpaired },
        { atomic_load(&status->address[row]), 1, unpaired },
        { unpaired ? atomic_load(&status->target[row]) : 0, 0, 1 },
        { cookie, owner_of(status, row), state & ROLE_MASK },
    };
    int kind, n = 0;        /* the kinds of a farm begin with these */

    if (!atomic_load(&status->owner[row]) || !(state & ROLE_MASK) || state & WAITS)
        return 0;
    for (kind = 0; kind < RPC_STATUS_TOLD; kind++) {
        if (!all[kind].key)
            continue;
        to[n] = all[kind];
        to[n++].key = rpc_farm_key((rpc_farm_kind_t)kind, all[kind].key);
    }
    return n;
}

/* ---- limits ---- */

uint32_t rpc_status_most(const rpc_status_t *status, rpc_limit_t limit)
{
    return atomic_load_explicit(&status->most[limit], memory_order_relaxed);
}

void rpc_status_seen(rpc_status_t *status, rpc_limit_t limit, uint32_t now)
{
    uint32_t before = rpc_status_most(status, limit);

    while (before < now && !atomic_compare_exchange_weak(&status->most[limit], &before, now))
        ;
}

/* Is the row in use, and by a channel that counts? */
static int counts(rpc_status_t *status, uint32_t row)
{
    return atomic_load(&status->owner[row]) && !(atomic_load(&status->state[row]) & WAITS);
}

/* What one of many is counted by: a user, an address, a target. */
typedef struct share {
    rpc_limit_t limit;
    index_kind_t kind;
    rpc_reason_t reason;
    size_t allowed;             /* in rpc_status_limits_t */
} share_t;

/* The narrower one says more, so it is asked first. */
static const share_t shares[] = {
    { RPC_LIMIT_OF_USER, BY_USER, RPC_REASON_TOO_MANY_OF_USER,
      offsetof(rpc_status_limits_t, of_user) },
    { RPC_LIMIT_OF_ADDRESS, BY_ADDRESS, RPC_REASON_TOO_MANY_OF_ADDRESS,
      offsetof(rpc_status_limits_t, of_address) },
    { RPC_LIMIT_UNPAIRED_OF_USER, UNPAIRED_BY_USER, RPC_REASON_TOO_MANY_UNPAIRED_OF_USER,
      offsetof(rpc_status_limits_t, unpaired_of_user) },
    { RPC_LIMIT_UNPAIRED_OF_ADDRESS, UNPAIRED_BY_ADDRESS, RPC_REASON_TOO_MANY_UNPAIRED_OF_ADDRESS,
      offsetof(rpc_status_limits_t, unpaired_of_address) },
    { RPC_LIMIT_UNPAIRED_OF_TARGET, UNPAIRED_BY_TARGET, RPC_REASON_TOO_MANY_UNPAIRED_OF_TARGET,
      offsetof(rpc_status_limits_t, unpaired_of_target) },
};
#define SHARES (sizeof(shares) / sizeof(shares[0]))

static const shared64_t *column_of(const rpc_status_t *status, index_kind_t kind)
{
    return kind == BY_USER || kind == UNPAIRED_BY_USER ? status->user
         : kind == UNPAIRED_BY_TARGET ? status->target : status->address;
}

/* How many rows of KIND have KEY and count, here. Asks no further than ENOUGH. */
static uint32_t count_share(rpc_status_t *status, index_kind_t kind, uint64_t key, uint64_t enough)
{
    const shared64_t *column = column_of(status, kind);
    rpc_row_walk_t walk = rpc_row_index_walk(&status->index, kind, key, atomic_load(status->mark));
    uint32_t row, n = 0;

    while (n < enough && rpc_row_walk_next(&walk, &row)) {
        if (atomic_load(&column[row]) == key && counts(status, row))
            n++;
    }
    return n;
}

/* Is row MINE beyond ALLOWED, with what there is at other machines? *HERE: how many there are, as
 * far as that is asked. 0 allowed: no limit. */
static int is_beyond(rpc_status_t *status, uint32_t mine, const share_t *share, uint32_t allowed,
                     uint32_t *here)
{
    uint64_t key = atomic_load(&column_of(status, share->kind)[mine]), elsewhere, enough;

    enough = allowed ? (uint64_t)allowed + 1
           : rpc_status_most(status, share->limit) < RPC_STATUS_COUNTED ? RPC_STATUS_COUNTED : 0;
    elsewhere = key && allowed ? count_elsewhere(status, share->kind, key) : 0;
    *here = key ? count_share(status, share->kind, key, enough) : 0;
    return allowed && *here + elsewhere > allowed;
}

/* The limit that row MINE is beyond; if none, it is counted. */
static rpc_reason_t over_limit(rpc_status_t *status, uint32_t mine,
                               const rpc_status_limits_t *limits)
{
    uint32_t now[RPC_LIMITS];
    size_t i;

    if (limits->reached)
        return limits->reached;
    now[RPC_LIMIT_CHANNELS] = count_bits(status, status->counted);
    if (limits->channels && now[RPC_LIMIT_CHANNELS] > limits->channels)
        return RPC_REASON_TOO_MANY_CHANNELS;
    for (i = 0; i < SHARES; i++) {
        uint32_t allowed = *(const uint32_t *)((const char *)limits + shares[i].allowed);

        if (is_beyond(status, mine, &shares[i], allowed, &now[shares[i].limit]))
            return shares[i].reason;
    }
    now[RPC_LIMIT_UNPAIRED] = count_bits(status, status->unpaired);
    if (limits->unpaired && now[RPC_LIMIT_UNPAIRED] > limits->unpaired)
        return RPC_REASON_TOO_MANY_UNPAIRED;
    for (i = 0; i < RPC_LIMITS; i++)
        rpc_status_seen(status, (rpc_limit_t)i, now[i]);
    return RPC_REASON_NONE;
}

/* Row MINE counts now, although it is beyond the limit of REASON. Of others than that, which may
 * not be limited, no more is asked than where there is no limit. */
static void count_beyond(rpc_status_t *status, uint32_t mine, rpc_reason_t reason)
{
    size_t i;

    for (i = 0; i < SHARES; i++) {
        index_kind_t kind = shares[i].kind;
        uint64_t key = atomic_load(&column_of(status, kind)[mine]);
        uint64_t enough = shares[i].reason == reason ? ROWS : RPC_STATUS_COUNTED;

        if (key)
            rpc_status_seen(status, shares[i].limit, count_share(status, kind, key, enough));
    }
    rpc_status_seen(status, RPC_LIMIT_CHANNELS, count_bits(status, status->counted));
    rpc_status_seen(status, RPC_LIMIT_UNPAIRED, count_bits(status, status->unpaired));
}

/* The key of LIVE and WAITING. */
static uint64_t succession_of(rpc_status_t *status, uint32_t row)
{
    return atomic_load(&status->identity[row]) + (atomic_load(&status->state[row]) & ROLE_MASK);
}

/* How many rows of KIND are of MINE's identity and role; more than MOST are not counted. */
static uint32_t count_kin(rpc_status_t *status, index_kind_t kind, uint32_t mine, uint32_t most)
{
    uint64_t key = succession_of(status, mine);
    rpc_row_walk_t walk = rpc_row_index_walk(&status->index, kind, key, atomic_load(status->mark));
    uint32_t row, n = 0;

    while (n < most && rpc_row_walk_next(&walk, &row)) {
        if (succession_of(status, row) == key
            && (kind == WAITING || atomic_load(&status->cookie[row])))
            n++;
    }
    return n;
}

/* Row MINE begins or ends to wait, and counts otherwise. */
static void set_waiting(rpc_status_t *status, uint32_t mine, uint32_t state)
{
    int waits = (state & WAITS) != 0;

    atomic_store(&status->state[mine], state);
    rpc_row_index_remove(&status->index, waits ? LIVE : WAITING, mine);
    rpc_row_index_add(&status->index, waits ? WAITING : LIVE, succession_of(status, mine), mine);
    (waits ? clear_bit : set_bit)(status->counted, mine);
    (waits ? clear_bit : set_bit)(status->unpaired, mine);
}

/* Row MINE is beyond LIMIT. It may wait for its first PDU while there are as many channels that it
 * and the others that wait could succeed. Again inserted first and looked then, so that no crowd
 * of newcomers is larger than what it could succeed. */
static int may_wait(rpc_status_t *status, uint32_t mine, rpc_reason_t limit)
{
    uint32_t role = atomic_load(&status->state[mine]) & ROLE_MASK, waiting;

    set_waiting(status, mine, role | WAITS | (uint32_t)limit << LIMIT_SHIFT);
    waiting = count_kin(status, WAITING, mine, ROWS);
    return count_kin(status, LIVE, mine, waiting) + count_kin_elsewhere(status, mine) >= waiting;
}

/* Writes what row MINE is counted by. */
static void insert_row(rpc_status_t *status, uint32_t mine, const rpc_status_who_t *who)
{
    const struct {
        shared64_t *column;
        uint64_t key;
        index_kind_t all, unpaired;
    } keys[] = {
        { status->user, hash_user(status, who->user), BY_USER, UNPAIRED_BY_USER },
        { status->address, hash_address(status, who->address), BY_ADDRESS, UNPAIRED_BY_ADDRESS },
        { status->target, hash_name(status, who->target), INDEX_KINDS, UNPAIRED_BY_TARGET },
    };
    size_t i;

    atomic_store(&status->identity[mine],
                 status_hash(status, who->identity, strlen(who->identity)));
    atomic_store(&status->state[mine], (uint32_t)(who->role + 1) << ROLE_SHIFT);
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        atomic_store(&keys[i].column[mine], keys[i].key);
        if (keys[i].key && keys[i].all != INDEX_KINDS)
            rpc_row_index_add(&status->index, keys[i].all, keys[i].key, mine);
        if (keys[i].key)
            rpc_row_index_add(&status->index, keys[i].unpaired, keys[i].key, mine);
    }
    rpc_row_index_add(&status->index, LIVE, succession_of(status, mine), mine);
    set_bit(status->counted, mine);
    set_bit(status->unpaired, mine);
}

int rpc_status_enter(rpc_status_t *status, const rpc_status_who_t *who,
                     const rpc_status_limits_t *limits, rpc_reason_t *why)
{
    int row = take_row(status);

    *why = RPC_REASON_TOO_MANY_CHANNELS;
    if (row == RPC_STATUS_NO_ROW)
        return row;
    insert_row(status, (uint32_t)row, who);
    *why = over_limit(status, (uint32_t)row, limits);
    if (!*why || (who->role != RPC_MIXED && may_wait(status, (uint32_t)row, *why)))
        return row;
    rpc_status_leave(status, row);
    return RPC_STATUS_NO_ROW;
}

void rpc_status_keys(const rpc_status_t *status, int row, uint64_t keys[3])
{
    keys[0] = atomic_load(&status->user[row]);
    keys[1] = atomic_load(&status->address[row]);
    keys[2] = atomic_load(&status->target[row]);
}

rpc_status_counts_t rpc_status_count(rpc_status_t *status)
{
    return (rpc_status_counts_t){ count_bits(status, status->counted),
                                  count_bits(status, status->unpaired) };
}

/* ---- cookies ---- */

/* What keeps MINE from sharing its cookie with OTHER. */
static rpc_reason_t cookie_conflict(rpc_status_t *status, uint32_t mine, uint32_t other,
                                    int replacing)
{
    uint64_t cookie = atomic_load(&status->cookie[mine]);
    uint64_t identity = atomic_load(&status->identity[other]);
    uint32_t role = atomic_load(&status->state[other]) & ROLE_MASK;

    if (!identity || atomic_load(&status->cookie[other]) != cookie)
        return RPC_REASON_NONE;     /* it is just ending */
    if (identity != atomic_load(&status->identity[mine]))
        return RPC_REASON_PEER_MISMATCH;
    /* A predecessor lives on beside its successor for a while. */
    if (!replacing && role == (atomic_load(&status->state[mine]) & ROLE_MASK))
        return RPC_REASON_DUPLICATE_COOKIE;
    return RPC_REASON_NONE;
}

/* Is OTHER of the same user, target and role as MINE, which has its cookie, and no waiting one? */
static int is_like(rpc_status_t *status, uint32_t mine, uint32_t other)
{
    uint32_t state = atomic_load(&status->state[other]);
    uint32_t role = atomic_load(&status->state[mine]) & ROLE_MASK;

    return !(state & WAITS) && (state & ROLE_MASK) == role
           && atomic_load(&status->identity[other]) == atomic_load(&status->identity[mine]);
}

/* What becomes of MINE, which has had its first PDU. A client that goes on and on replacing what is
 * not gone yet would have all the channels it likes. */
static rpc_reason_t judge_claim(rpc_status_t *status, uint32_t mine, unsigned predecessors)
{
    uint32_t state = atomic_load(&status->state[mine]);

    if (!(state & WAITS))
        return RPC_REASON_NONE;
    if (predecessors < 1 || predecessors > PREDECESSORS_MAX)
        return (rpc_reason_t)(state >> LIMIT_SHIFT);
    set_waiting(status, mine, state & ROLE_MASK);
    count_beyond(status, mine, (rpc_reason_t)(state >> LIMIT_SHIFT));
    return RPC_REASON_NONE;
}

/* What a channel has of another of its virtual connection: the server, and a successor its
 * predecessor's binds. */
static void inherit(rpc_status_t *status, uint32_t mine, uint32_t other)
{
    uint64_t place = atomic_load(&status->place[other]);

    if (place)
        atomic_store(&status->place[mine], place);
    if (is_like(status, mine, other))
        atomic_fetch_or(&status->binds[mine], atomic_load(&status->binds[other]));
}

rpc_reason_t rpc_status_claim(rpc_status_t *status, int row, const rts_cookie_t *vc, int replacing)
{
    uint64_t cookie = rpc_status_hash_cookie(status, vc);
    rpc_reason_t reason = RPC_REASON_NONE;
    uint32_t mine = (uint32_t)row, other;
    unsigned predecessors = 0;
    int found_here = 0;
    rpc_row_walk_t walk;

    if (!replacing)
        atomic_fetch_or(&status->binds[mine], KNOWN);
    atomic_store(&status->cookie[mine], cookie);
    rpc_row_index_add(&status->index, BY_COOKIE, cookie, mine);
    walk = rpc_row_index_walk(&status->index, BY_COOKIE, cookie, atomic_load(status->mark));
    /* A mismatch says more than a duplicate does. */
    while (reason != RPC_REASON_PEER_MISMATCH && rpc_row_walk_next(&walk, &other)) {
        rpc_reason_t found = RPC_REASON_NONE;

        if (other == mine || atomic_load(&status->cookie[other]) != cookie)
            continue;
        found = cookie_conflict(status, mine, other, replacing);
        predecessors += !found && replacing && is_like(status, mine, other);
        if (found)
            reason = found;
        else
            inherit(status, mine, other);
        found_here = 1;
    }
    if (!found_here && claimed_elsewhere(status, mine, cookie, &reason))
        predecessors += replacing != 0;
    if (!reason)
        reason = judge_claim(status, mine, predecessors);
    if (reason) {
        atomic_store(&status->cookie[mine], 0);
        rpc_row_index_remove(&status->index, BY_COOKIE, mine);
    }
    return reason;
}

/* ---- binds ---- */

/* First its own row, then the others: a successor that claims the cookie meanwhile hears of it
 * by what it finds there, or from here. */
void rpc_status_bound(rpc_status_t *status, int row, unsigned level)
{
    uint32_t bits = BOUND | (level ? LEVEL(level < LEVEL_MAX ? level : LEVEL_MAX) : 0);
    uint32_t mine = (uint32_t)row, other, role = atomic_load(&status->state[mine]) & ROLE_MASK;
    uint64_t cookie = atomic_load(&status->cookie[mine]);
    rpc_row_walk_t walk;

    atomic_fetch_or(&status->binds[mine], bits);
    walk = rpc_row_index_walk(&status->index, BY_COOKIE, cookie, atomic_load(status->mark));
    while (cookie && rpc_row_walk_next(&walk, &other)) {
        if (other != mine && atomic_load(&status->cookie[other]) == cookie
            && (atomic_load(&status->state[other]) & ROLE_MASK) == role)
            atomic_fetch_or(&status->binds[other], bits);
    }
}

int rpc_status_recall(rpc_status_t *status, int row, int *bound, unsigned *level)
{
    uint32_t binds = atomic_load(&status->binds[row]);
    unsigned n;

    *bound = (binds & BOUND) != 0;
    *level = 0;
    for (n = 1; n <= LEVEL_MAX; n++)
        if (binds & LEVEL(n))
            *level = n;
    return (binds & KNOWN) != 0;
}

/* ---- places ---- */

void rpc_status_reached(rpc_status_t *status, int row, const char *host, uint16_t port)
{
    atomic_store(&status->place[row], hash_place(status, host, port));
}

int rpc_status_meets(rpc_status_t *status, int row, const char *host, uint16_t port)
{
    return atomic_load(&status->place[row]) == hash_place(status, host, port);
}

int rpc_status_has_other_half(const rpc_status_t *status, int row)
{
    uint32_t mine = (uint32_t)row, other, role = atomic_load(&status->state[mine]) & ROLE_MASK;
    uint64_t cookie = atomic_load(&status->cookie[mine]);
    rpc_row_walk_t walk;
    rpc_farm_entry_t claim;

    if (!cookie)
        return 0;
    walk = rpc_row_index_walk(&status->index, BY_COOKIE, cookie, atomic_load(status->mark));
    while (rpc_row_walk_next(&walk, &other))
        if (atomic_load(&status->cookie[other]) == cookie
            && (atomic_load(&status->state[other]) & ROLE_MASK) != role)
            return 1;
    return rpc_farm_find(status->farm, RPC_FARM_COOKIE, cookie, &claim)
           && (claim.b & ROLE_MASK & ~(uint64_t)role) != 0;
}

/* ---- failures ---- */

/* One slot by the cookie's hash, and the exchange decides, so there is no row to outlive. A slot
 * holds the upper bits of the hash and the time; a collision costs a second line, no more. */
int rpc_status_tells(rpc_status_t *status, int row, apr_time_t now)
{
    uint64_t cookie = atomic_load(&status->cookie[row]), before;
    uint8_t when = (uint8_t)(now / TOLD_UNIT);

    if (!cookie)
        return 1;
    before = atomic_exchange(&status->told[cookie % TOLD], (cookie & ~(uint64_t)0xff) | when);
    return (before ^ cookie) >> 8 != 0 || (uint8_t)(when - (uint8_t)before) > TOLD_FOR;
}
