/* rpc_farm_layout: what a machine writes into the shared store (httpd/farm_exchange.h): the names,
 * the head, and on which page an entry lies. Structures stand there as they are in memory, so both
 * their fields and the order of bytes are a part of the layout. Whoever changes a field changes
 * RPC_FARM_LAYOUT, too. The name of the farm follows from it: machines with one secret and
 * different layouts are different farms, and none reads what another has written.
 */
#ifndef RPC_FARM_LAYOUT_H
#define RPC_FARM_LAYOUT_H

#include "shared/farm.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define RPC_FARM_LAYOUT "1"
#else
#define RPC_FARM_LAYOUT "1, big-endian"
#endif
#define RPC_FARM_PAGES 1024u
#define RPC_FARM_KEY 64             /* bytes of a name in the store, with its NUL */
#define RPC_FARM_ALIVE 5            /* seconds that a machine is remembered */

/* The farm in the store. */
typedef struct rpc_farm_place {
    const uint8_t *secret;
    char prefix[RPC_FARM_KEY / 2];
} rpc_farm_place_t;

typedef struct rpc_farm_head {
    int64_t clock;                  /* rpc_clock_now() of that machine */
    char name[RPC_FARM_NAME];
    rpc_farm_sums_t sums;
    uint64_t versions[RPC_FARM_PAGES];  /* the numbers that its pages were sealed with; 0: empty */
} rpc_farm_head_t;

/* The place of the farm of SECRET, which stays. */
rpc_farm_place_t rpc_farm_place(const uint8_t *secret);
/* The names of a machine's head and pages. Each returns NAME. */
const char *rpc_farm_head_name(const rpc_farm_place_t *place, uint64_t machine,
                               char name[RPC_FARM_KEY]);
const char *rpc_farm_page_name(const rpc_farm_place_t *place, uint64_t machine, unsigned page,
                               char name[RPC_FARM_KEY]);

static inline unsigned rpc_farm_page_of(uint64_t key)
{
    return (unsigned)(key >> 54) % RPC_FARM_PAGES;
}

#endif
