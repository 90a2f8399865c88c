/* Preloaded under ThreadSanitizer: the MPMs hand the cleared pool of a connection that has ended to another
 * thread by an atomic list, in code of httpd that the sanitizer has not compiled. Whoever takes a pool from
 * there tags it. So the sanitizer is told here that clearing a pool comes before its next tag.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

void __tsan_acquire(void *at);
void __tsan_release(void *at);

void apr_pool_clear(void *pool)
{
    void (*clear)(void *) = (void (*)(void *))dlsym(RTLD_NEXT, "apr_pool_clear");

    clear(pool);
    __tsan_release(pool);
}

void apr_pool_tag(void *pool, const char *tag)
{
    void (*set_tag)(void *, const char *) = (void (*)(void *, const char *))dlsym(RTLD_NEXT, "apr_pool_tag");

    __tsan_acquire(pool);
    set_tag(pool, tag);
}
