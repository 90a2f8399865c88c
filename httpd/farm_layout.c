/* httpd/farm_layout.c: see httpd/farm_layout.h. */
#include "httpd/farm_layout.h"

#include <inttypes.h>
#include <stdio.h>

#include "httpd/farm_seal.h"

rpc_farm_place_t rpc_farm_place(const uint8_t *secret)
{
    rpc_farm_place_t place = { .secret = secret };
    uint64_t number = 0;

    rpc_seal_derive(secret, "name of the farm, layout " RPC_FARM_LAYOUT, &number, sizeof(number));
    snprintf(place.prefix, sizeof(place.prefix), "rpcproxy:%016" PRIx64, number);
    return place;
}

const char *rpc_farm_head_name(const rpc_farm_place_t *place, uint64_t machine,
                               char name[RPC_FARM_KEY])
{
    snprintf(name, RPC_FARM_KEY, "%s:%016" PRIx64, place->prefix, machine);
    return name;
}

const char *rpc_farm_page_name(const rpc_farm_place_t *place, uint64_t machine, unsigned page,
                               char name[RPC_FARM_KEY])
{
    snprintf(name, RPC_FARM_KEY, "%s:%016" PRIx64 ":%u", place->prefix, machine, page);
    return name;
}
