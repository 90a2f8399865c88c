/* rpc_loan: who has lent bytes of a loop's scratch; io/loop.h describes a loan. There is one at a
 * time. Only loops include this header.
 */
#ifndef RPC_LOAN_H
#define RPC_LOAN_H

#include "io/loop.h"

/* Ends the loan *CURRENT, if there is one, because another user needs the scratch buffer. */
void rpc_loan_settle(rpc_loan_t **current);
/* Makes LOAN the current one if DATA lies in SCRATCH, and returns 1; else 0. */
int rpc_loan_make(rpc_loan_t **current, rpc_loan_t *loan, const uint8_t *scratch, const void *data);
/* Forgets LOAN, if it is the current one. */
void rpc_loan_forget(rpc_loan_t **current, const rpc_loan_t *loan);

#endif
