/* rpc_farm_seal: what a machine writes into the shared store, so that only machines that have the
 * farm's secret can read it, or write anything that others believe. AES-256-GCM; the key is that
 * of the machine that writes, and each number is used once.
 */
#ifndef RPC_FARM_SEAL_H
#define RPC_FARM_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include <apr_pools.h>

#define RPC_FARM_SECRET 32          /* bytes of the farm's secret, once it has been read */
#define RPC_SEAL_ROOM 24            /* bytes that a sealed text is longer */

/* The secret that the file at PATH holds as text. NULL, or what is wrong with the file, with what
 * helps. */
const char *rpc_seal_read_secret(apr_pool_t *pool, const char *path,
                                 uint8_t secret[RPC_FARM_SECRET]);

/* Bytes for PURPOSE that follow from the secret, which nobody learns from them. */
void rpc_seal_derive(const uint8_t secret[RPC_FARM_SECRET], const char *purpose, void *to,
                     size_t size);

/* SIZE bytes at TEXT of the machine MACHINE, which stand in the store under NAME, into TO. NUMBER:
 * one that this machine has never used. 0: libcrypto has failed. */
int rpc_seal(const uint8_t secret[RPC_FARM_SECRET], uint64_t machine, uint64_t number,
             const char *name, const void *text, size_t size, uint8_t *to);
/* Opens SIZE bytes, RPC_SEAL_ROOM at least, into TO. 0: they are not that machine's, or not what
 * stands under that name. */
int rpc_unseal(const uint8_t secret[RPC_FARM_SECRET], uint64_t machine, const char *name,
               const void *sealed, size_t size, void *to, uint64_t *number);

#endif
