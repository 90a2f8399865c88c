/* auth/provider_file.c: the provider "file". A file is read when it is first needed and again when
 * it has changed, into a table with a pool of its own, which lives as long as a thread uses it.
 * When a file cannot be read any more, the last good table stays. The threads of a child share all
 * this.
 */
#include "auth/provider.h"

#include <apr_file_io.h>
#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <ap_provider.h>
#include <http_config.h>
#include <http_log.h>

#include "auth/config.h"
#include "base/message_id.h"
#include "ntlm/smbpasswd.h"

APLOG_USE_MODULE(auth_ntlm);

#define FILE_MAX (16 * 1024 * 1024)
#define FILE_STAMP \
    (APR_FINFO_MTIME | APR_FINFO_CTIME | APR_FINFO_SIZE | APR_FINFO_INODE | APR_FINFO_DEV)

/* One reading of a file. */
typedef struct snapshot {
    apr_pool_t *pool;
    const smbpasswd_t *table;
    apr_finfo_t info;
    unsigned users;             /* threads that use it, plus one while it is the newest */
} snapshot_t;

/* Per child. */
typedef struct files {
    apr_pool_t *pool;
    apr_thread_mutex_t *mutex;
    apr_hash_t *newest;         /* snapshot_t by path */
} files_t;

static files_t *files;          /* made in child_init, before any thread */

/* ---- reading ---- */

static apr_status_t read_all(const char *path, apr_pool_t *pool, apr_finfo_t *info, char **text,
                             apr_size_t *size)
{
    apr_file_t *file;
    apr_status_t rv = apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BINARY, APR_OS_DEFAULT,
                                    pool);

    if (rv != APR_SUCCESS)
        return rv;
    rv = apr_file_info_get(info, FILE_STAMP, file);
    if (rv == APR_SUCCESS && info->size > FILE_MAX)
        rv = APR_EINVAL;
    if (rv == APR_SUCCESS) {
        *text = apr_palloc(pool, (apr_size_t)info->size + 1);
        rv = apr_file_read_full(file, *text, (apr_size_t)info->size, size);
        if (APR_STATUS_IS_EOF(rv))
            rv = APR_SUCCESS;
    }
    apr_file_close(file);
    return rv;
}

static snapshot_t *snapshot_read(request_rec *r, const char *path)
{
    apr_pool_t *pool;
    snapshot_t *snap;
    char *text = NULL;
    apr_size_t size = 0;
    apr_status_t rv;

    /* Filled under the mutex, but destroyed by the last user: so it has an allocator of its own. */
    apr_pool_create_unmanaged_ex(&pool, NULL, NULL);
    snap = apr_pcalloc(pool, sizeof(*snap));
    snap->pool = pool;
    rv = read_all(path, pool, &snap->info, &text, &size);
    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r,
                      RPCNO(0117) "AuthNtlmUserFile %s cannot be read%s", path,
                      snap->info.size > FILE_MAX ? ": larger than 16 MiB" : "");
        apr_pool_destroy(pool);
        return NULL;
    }
    snap->table = smbpasswd_read(pool, text, size);
    if (snap->table->malformed)
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      RPCNO(0118) "AuthNtlmUserFile %s: %u lines are not "
                      "name:uid:LM:NT:[flags]:..., the first is line %u",
                      path, snap->table->malformed, snap->table->first_malformed);
    return snap;
}

static int snapshot_is_current(const snapshot_t *snap, const char *path, apr_pool_t *pool)
{
    apr_finfo_t now;

    if (apr_stat(&now, path, FILE_STAMP, pool) != APR_SUCCESS)
        return 0;
    /* The ctime counts, too, because a writer may set the mtime back, as cp -p does. */
    return now.mtime == snap->info.mtime && now.ctime == snap->info.ctime
        && now.size == snap->info.size && now.inode == snap->info.inode
        && now.device == snap->info.device;
}

/* ---- sharing; callers hold the mutex ---- */

static void release_snapshot(snapshot_t *snap)
{
    if (--snap->users == 0)
        apr_pool_destroy(snap->pool);
}

static snapshot_t *newest_snapshot(request_rec *r, const char *path)
{
    snapshot_t *snap = apr_hash_get(files->newest, path, APR_HASH_KEY_STRING), *fresh;

    if (snap && snapshot_is_current(snap, path, r->pool))
        return snap;
    fresh = snapshot_read(r, path);
    if (!fresh)
        return snap;
    fresh->users = 1;
    apr_hash_set(files->newest, snap ? path : apr_pstrdup(files->pool, path), APR_HASH_KEY_STRING,
                 fresh);
    if (snap)
        release_snapshot(snap);
    return fresh;
}

static snapshot_t *snapshot_take(request_rec *r, const char *path)
{
    snapshot_t *snap;

    apr_thread_mutex_lock(files->mutex);
    snap = newest_snapshot(r, path);
    if (snap)
        snap->users++;
    apr_thread_mutex_unlock(files->mutex);
    return snap;
}

static void snapshot_give_back(snapshot_t *snap)
{
    apr_thread_mutex_lock(files->mutex);
    release_snapshot(snap);
    apr_thread_mutex_unlock(files->mutex);
}

/* ---- the provider ---- */

/* The response of an unknown user is checked, too, so that it takes as long as a wrong password. */
static auth_ntlm_verdict_t check_user(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                      const smbpasswd_user_t *user, auth_ntlm_proof_t *proof)
{
    static const uint8_t nobody[NTLMSSP_KEY];
    const ntlmssp_authenticate_t *auth = attempt->auth;
    uint8_t key[NTLMSSP_KEY];
    int right = ntlmssp_ntowf_v2(user ? user->nt_hash : nobody, auth->user, auth->domain, key)
                && ntlmssp_check_response(key, attempt->challenge, auth, proof->session_key);
    const char *why = !user        ? "unknown"
                    : user->barred ? user->barred
                    : right        ? NULL
                                   : "wrong password";

    if (why) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, RPCNO(0119) "NTLM user \"%s\": %s",
                      ap_escape_logitem(r->pool, attempt->user), why);
        return user ? AUTH_NTLM_DENIED : AUTH_NTLM_UNKNOWN;
    }
    proof->user = apr_pstrdup(r->pool, user->name);
    proof->domain = "";
    return AUTH_NTLM_GRANTED;
}

static auth_ntlm_verdict_t file_check(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                      auth_ntlm_proof_t *proof)
{
    const char *path = auth_ntlm_config(r)->user_file;
    auth_ntlm_verdict_t verdict;
    snapshot_t *snap;

    if (!path) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      RPCNO(0120) "the provider \"file\" has no users here: set AuthNtlmUserFile");
        return AUTH_NTLM_ERROR;
    }
    snap = snapshot_take(r, path);
    if (!snap)
        return AUTH_NTLM_ERROR;
    verdict = check_user(r, attempt, smbpasswd_find(snap->table, r->pool, attempt->user), proof);
    snapshot_give_back(snap);
    return verdict;
}

static const char *file_configured(apr_pool_t *p, const char *path)
{
    apr_finfo_t info;
    apr_status_t rv = apr_stat(&info, path, APR_FINFO_TYPE | APR_FINFO_PROT, p);
    char why[120];

    if (rv != APR_SUCCESS)
        return apr_psprintf(p, "cannot be read (%s): write it with pdbedit -Lw or smbpasswd",
                            apr_strerror(rv, why, sizeof(why)));
    if (info.filetype != APR_REG)
        return "is not a file";
    if (info.protection & (APR_FPROT_WREAD | APR_FPROT_WWRITE))
        ap_log_perror(APLOG_MARK, APLOG_WARNING, 0, p,
                      RPCNO(0121) "every user can read AuthNtlmUserFile %s, and "
                      "its hashes are as good as passwords: chmod o-rwx", path);
    return NULL;
}

static void file_child_init(apr_pool_t *pchild, server_rec *s)
{
    files = apr_pcalloc(pchild, sizeof(*files));
    apr_pool_create_unmanaged_ex(&files->pool, NULL, NULL);     /* pchild is not for threads */
    files->newest = apr_hash_make(files->pool);
    apr_thread_mutex_create(&files->mutex, APR_THREAD_MUTEX_DEFAULT, pchild);
}

static const auth_ntlm_provider_t provider = { file_check, file_configured };

void auth_ntlm_file_register(apr_pool_t *p)
{
    ap_hook_child_init(file_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_register_provider(p, AUTH_NTLM_PROVIDER_GROUP, AUTH_NTLM_FILE, AUTH_NTLM_PROVIDER_VERSION,
                         &provider);
}
