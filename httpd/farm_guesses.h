/* rpc_farm_guesses: the optional functions of base/farm_guesses.h. */
#ifndef RPC_FARM_GUESSES_H
#define RPC_FARM_GUESSES_H

#include "httpd/context.h"

/* From register_hooks. CONTEXT stays. */
void rpc_farm_guesses_register(const rpc_context_t *context);

#endif
