/* proxy_binds: the PDUs of a client that a firewall inspects, and what may arrive of them. A second
 * implementation of the rules, by the results of the firewall and not by its decisions.
 */
#ifndef PROXY_BINDS_H
#define PROXY_BINDS_H

#include "proxy_model.h"

#define BINDS_MAX 512

/* game->firewall: bits 0 and 1 choose the rules (0: none), 2 and 3 the least level; bit 4: clients
 * that want it have no firewall. */
void binds_fill_spec(side_t *client, int other_rules);

/* Makes the client's next PDU into BUF, its size; 0 when it has made too many. SHAPE, above 0xff:
 * 0x100 a bind or alter_context, 0x200 other PDUs, the rest see proxy_binds.c. */
size_t binds_make(side_t *client, unsigned shape, uint8_t buf[BINDS_MAX]);

/* A client's RPC PDU, of any make, is heard on an IN leg or one of version 1. */
void binds_arrive(side_t *leg, side_t *client, const uint8_t *pdu, uint32_t size);

#endif
