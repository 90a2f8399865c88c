/* Preloaded under ThreadSanitizer: the MPMs hand the cleared pool of a connection that has ended to
 * the next connection by an atomic list, in code of httpd that the sanitizer has not compiled. So
 * the sanitizer is told here that a pool is cleared before a connection is accepted into it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

typedef void clear_fn(void *pool);
typedef int accept_fn(void **socket, void *listening, void *pool);

void __tsan_acquire(void *at);
void __tsan_release(void *at);

void apr_pool_clear(void *pool)
{
    clear_fn *clear = (clear_fn *)dlsym(RTLD_NEXT, "apr_pool_clear");

    clear(pool);
    __tsan_release(pool);
}

int apr_socket_accept(void **socket, void *listening, void *pool)
{
    accept_fn *accept = (accept_fn *)dlsym(RTLD_NEXT, "apr_socket_accept");

    __tsan_acquire(pool);
    return accept(socket, listening, pool);
}
