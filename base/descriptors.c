#include "base/descriptors.h"

#include <limits.h>
#include <sys/resource.h>

unsigned long rpc_descriptors_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return ULONG_MAX;
    return (unsigned long)limit.rlim_cur;
}

int rpc_descriptors_short(int fd, unsigned kept)
{
    unsigned long limit = rpc_descriptors_limit(),
                  share = limit / 400 * kept + limit % 400 * kept / 400;

    return (unsigned long)fd >= limit - (share < kept ? share : kept);
}
