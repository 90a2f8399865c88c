/* fault.h: checks how a parser of the configuration refuses a text. */
#ifndef FAULT_H
#define FAULT_H

#include "base/syntax.h"
#include "unit.h"

/* TEXT was refused: RV says so, there is no RESULT, and ERR names ELEMENT at COLUMN and says, among
 * other words, HELP. */
static inline void fault_is(const char *text, apr_status_t rv, const void *result,
                            const rpc_syntax_error_t *err, int column, const char *element,
                            const char *help)
{
    ok(rv == APR_EINVAL && !result && err->column == column && err->element
           && !strcmp(err->element, element) && err->expected && strstr(err->expected, help),
       "\"%s\": \"%s\" at column %d (is \"%s\" at %d, expected %s)", text, element, column,
       err->element, err->column, err->expected);
}

#endif
