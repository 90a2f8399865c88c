#include "io/loan.h"

void rpc_loan_settle(rpc_loan_t **current)
{
    rpc_loan_t *loan = *current;

    *current = NULL;
    if (loan)
        loan->settle(loan);
}

int rpc_loan_make(rpc_loan_t **current, rpc_loan_t *loan, const uint8_t *scratch, const void *data)
{
    uintptr_t at = (uintptr_t)data, start = (uintptr_t)scratch;

    if (at < start || at >= start + RPC_LOOP_SCRATCH)
        return 0;
    if (*current != loan)
        rpc_loan_settle(current);
    *current = loan;
    return 1;
}

void rpc_loan_forget(rpc_loan_t **current, const rpc_loan_t *loan)
{
    if (*current == loan)
        *current = NULL;
}
