/* auth/handshake.c: the states of a connection:
 *
 *   FRESH --NEGOTIATE: CHALLENGE--> CHALLENGED --AUTHENTICATE, right--> KNOWN
 *     ^                                 |                                 |
 *     +--- AUTHENTICATE, wrong ---------+      a NEGOTIATE starts anew ---+
 *
 * The checks of an AUTHENTICATE come in this order: its form; its age; the limit on failures; the
 * provider, which checks the password; then the values that only somebody with the password can
 * have protected: the timestamp of the challenge, the MIC, the binding to the server's certificate
 * and the name of the service.
 *
 * A connection that another client may use does not become KNOWN (auth/shared_connection.c).
 */
#include "auth/handshake.h"

#include <apr_atomic.h>
#include <apr_strings.h>
#include <ap_provider.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <openssl/rand.h>

#include "auth/account_name.h"
#include "auth/config.h"
#include "auth/failures.h"
#include "auth/provider.h"
#include "auth/shared_connection.h"
#include "auth/targets.h"
#include "base/clock.h"
#include "base/message_id.h"

APLOG_USE_MODULE(auth_ntlm);

#define FILETIME_EPOCH APR_TIME_C(11644473600)  /* seconds from 1601 to 1970 */
#define SKEW_MAX apr_time_from_sec(30 * 60)     /* of the client's clock from the server's */
#define CHALLENGE_TIME apr_time_from_sec(5 * 60)    /* people may need so long to type a password */
#define NB_NAME_MAX 15

typedef enum { NTLM_FRESH, NTLM_CHALLENGED, NTLM_KNOWN } ntlm_state_t;

/* The settings that held during a handshake. */
typedef struct ntlm_settings {
    const server_rec *server;
    const char *providers, *user_file;
    int protection, omit_domain;
} ntlm_settings_t;

typedef struct ntlm_conn {
    apr_uint32_t told;              /* a possible sharing has been logged; set from any thread */
    apr_pool_t *pool;               /* holds all below, cleared when a handshake starts; NULL: none
                                     * yet */
    ntlm_state_t state;
    const char *asker;              /* the client that makes the handshake */
    ntlm_settings_t settings;
    uint8_t *negotiate, *challenge;     /* the messages: the MIC covers them */
    size_t negotiate_size, challenge_size;
    uint8_t nonce[NTLMSSP_CHALLENGE];
    apr_time_t since;               /* by rpc_clock_now() */
    uint64_t server_time;           /* MsvAvTimestamp, as it was sent */
    auth_ntlm_mechs_t mechs;
    const char *user;
} ntlm_conn_t;

/* ---- state ---- */

static void conn_begin(conn_rec *c)
{
    ap_set_module_config(c->conn_config, &auth_ntlm_module,
                         apr_pcalloc(c->pool, sizeof(ntlm_conn_t)));
}

static ntlm_conn_t *conn_state(request_rec *r)
{
    conn_rec *c = r->connection;

    if (!ap_get_module_config(c->conn_config, &auth_ntlm_module))
        conn_begin(c);
    return ap_get_module_config(c->conn_config, &auth_ntlm_module);
}

int auth_ntlm_conn_told(conn_rec *c)
{
    ntlm_conn_t *nc = ap_get_module_config(c->conn_config, &auth_ntlm_module);

    return nc && apr_atomic_xchg32(&nc->told, 1);
}

/* Back to FRESH: the connection has no user and no challenge. */
static void handshake_begin(request_rec *r, ntlm_conn_t *nc)
{
    if (!nc->pool)
        apr_pool_create(&nc->pool, r->connection->pool);
    apr_pool_clear(nc->pool);
    nc->state = NTLM_FRESH;
    nc->mechs = (auth_ntlm_mechs_t){ NULL, 0, 0 };
}

static const char *provider_names(apr_pool_t *p, const auth_ntlm_config_t *cfg)
{
    return cfg->providers ? apr_array_pstrcat(p, cfg->providers, ' ') : AUTH_NTLM_FILE;
}

static int protection_here(const request_rec *r)
{
    int protection = auth_ntlm_config(r)->protection;

    return protection == AUTH_NTLM_UNSET ? AUTH_NTLM_EP_ALLOW : protection;
}

static ntlm_settings_t settings_here(const request_rec *r, apr_pool_t *p)
{
    const auth_ntlm_config_t *cfg = auth_ntlm_config(r);
    ntlm_settings_t s = { r->server, provider_names(p, cfg), cfg->user_file ? cfg->user_file : "",
                          protection_here(r), cfg->omit_domain > 0 };

    return s;
}

static int same_settings(const ntlm_settings_t *a, const ntlm_settings_t *b)
{
    return a->server == b->server && strcmp(a->providers, b->providers) == 0
           && strcmp(a->user_file, b->user_file) == 0 && a->protection == b->protection
           && a->omit_domain == b->omit_domain;
}

/* Does this request come from another client than the handshake? If so, the handshake is void. */
static int is_another(request_rec *r, ntlm_conn_t *nc)
{
    const char *asker = auth_ntlm_asker(r);

    if (strcmp(nc->asker, asker) == 0)
        return 0;
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  RPCNO(0106) "NTLM refused: the connection is shared: its handshake came "
                  "from \"%s\", and a request comes from \"%s\"",
                  ap_escape_logitem(r->pool, nc->asker), ap_escape_logitem(r->pool, asker));
    handshake_begin(r, nc);
    return 1;
}

int auth_ntlm_known(request_rec *r)
{
    ntlm_conn_t *nc = conn_state(r);
    ntlm_settings_t here;

    if (nc->state != NTLM_KNOWN || is_another(r, nc))
        return 0;
    here = settings_here(r, r->pool);
    if (!same_settings(&nc->settings, &here))
        return 0;
    r->user = apr_pstrdup(r->pool, nc->user);
    return 1;
}

void auth_ntlm_forget(request_rec *r)
{
    handshake_begin(r, conn_state(r));
}

void auth_ntlm_keep_mechs(request_rec *r, const auth_ntlm_mechs_t *mechs)
{
    ntlm_conn_t *nc = conn_state(r);

    nc->mechs = *mechs;
    nc->mechs.list = apr_pmemdup(nc->pool, mechs->list, mechs->size);
}

auth_ntlm_mechs_t auth_ntlm_kept_mechs(request_rec *r)
{
    return conn_state(r)->mechs;
}

/* ---- NEGOTIATE ---- */

/* By default the client is told the host name of its request and no internal name. */
static const ntlmssp_target_t *target_of(request_rec *r)
{
    const auth_ntlm_config_t *cfg = auth_ntlm_config(r);
    const char *host = r->hostname ? r->hostname : "";
    ntlmssp_target_t *t = cfg->target;
    apr_size_t label = strcspn(host, ".:");
    char *name;

    if (t)
        return t;
    t = apr_pcalloc(r->pool, sizeof(*t));
    name = apr_pstrndup(r->pool, host, label < NB_NAME_MAX ? label : NB_NAME_MAX);
    if (strspn(name, "0123456789") == strlen(name) || strchr(host, ':'))
        name = apr_pstrdup(r->pool, "WEB");     /* the host is an address, not a name */
    ap_str_toupper(name);
    t->nb_domain = t->nb_computer = name;
    return t;
}

static uint64_t filetime(apr_time_t t)
{
    return (uint64_t)(t + apr_time_from_sec(FILETIME_EPOCH)) * 10;
}

static auth_ntlm_step_t handshake_refuse(request_rec *r, const char *why)
{
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, RPCNO(0107) "NTLM refused: %s", why);
    return AUTH_NTLM_STEP_REFUSED;
}

static auth_ntlm_step_t take_negotiate(request_rec *r, ntlm_conn_t *nc, const uint8_t *msg,
                                       size_t size, auth_ntlm_reply_t *reply)
{
    ntlmssp_negotiate_t negotiate;
    ntlmssp_challenge_t challenge = { target_of(r), { 0 }, filetime(apr_time_now()) };
    const char *wrong = ntlmssp_read_negotiate(msg, size, &negotiate);
    uint8_t buf[NTLMSSP_MAX];

    handshake_begin(r, nc);
    if (wrong)
        return handshake_refuse(r, wrong);
    if (RAND_bytes(challenge.challenge, sizeof(challenge.challenge)) != 1) {
        ap_log_rerror(APLOG_MARK, APLOG_CRIT, 0, r,
                      RPCNO(0108) "no random bytes for an NTLM challenge");
        return AUTH_NTLM_STEP_ERROR;
    }
    nc->challenge_size = ntlmssp_write_challenge(&challenge, negotiate.flags, buf, sizeof(buf));
    if (!nc->challenge_size) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      RPCNO(0109) "an NTLM challenge cannot be written: see AuthNtlmTargetInfo");
        return AUTH_NTLM_STEP_ERROR;
    }
    nc->challenge = apr_pmemdup(nc->pool, buf, nc->challenge_size);
    nc->negotiate = apr_pmemdup(nc->pool, msg, size);
    nc->negotiate_size = size;
    memcpy(nc->nonce, challenge.challenge, sizeof(nc->nonce));
    nc->settings = settings_here(r, nc->pool);
    nc->asker = apr_pstrdup(nc->pool, auth_ntlm_asker(r));
    nc->server_time = challenge.timestamp;
    nc->since = rpc_clock_now();
    nc->state = NTLM_CHALLENGED;
    reply->message = nc->challenge;
    reply->size = nc->challenge_size;
    return AUTH_NTLM_STEP_CHALLENGE;
}

/* ---- AUTHENTICATE ---- */

/* Splits DOM\user and user@domain, unless the message names the domain separately. */
static void split_name(request_rec *r, const ntlmssp_authenticate_t *auth, auth_ntlm_attempt_t *a)
{
    a->user = auth->user;
    a->domain = auth->domain;
    if (!*auth->domain)
        a->user = auth_ntlm_account_name(r->pool, auth->user, &a->domain);
}

static auth_ntlm_verdict_t ask_providers(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                         auth_ntlm_proof_t *proof)
{
    const apr_array_header_t *names = auth_ntlm_config(r)->providers;
    auth_ntlm_verdict_t verdict = AUTH_NTLM_UNKNOWN;
    int i, count = names ? names->nelts : 1;

    for (i = 0; i < count && verdict == AUTH_NTLM_UNKNOWN; i++) {
        const char *name = names ? APR_ARRAY_IDX(names, i, const char *) : AUTH_NTLM_FILE;
        const auth_ntlm_provider_t *provider =
            ap_lookup_provider(AUTH_NTLM_PROVIDER_GROUP, name, AUTH_NTLM_PROVIDER_VERSION);

        verdict = provider->check(r, attempt, proof);
    }
    return verdict;
}

static int too_old(const ntlmssp_authenticate_t *auth, apr_time_t now)
{
    uint64_t here = filetime(now), apart;

    apart = auth->timestamp > here ? auth->timestamp - here : here - auth->timestamp;
    return apart / 10 > (uint64_t)SKEW_MAX;
}

/* What is wrong with the message before a provider is asked; NULL: nothing. */
static const char *wrong_form(const ntlm_conn_t *nc, const ntlmssp_authenticate_t *auth)
{
    if (auth->anonymous)
        return "anonymous";
    if (rpc_clock_now() - nc->since > CHALLENGE_TIME)
        return "the challenge is too old";
    if (too_old(auth, apr_time_now()))
        return "the time in the response differs by more than 30 minutes";
    return NULL;
}

/* The password was right. Was this message made for this handshake and this server? */
static const char *wrong_bond(request_rec *r, const ntlm_conn_t *nc,
                              const ntlmssp_authenticate_t *auth, const uint8_t *session_key,
                              const uint8_t *msg, size_t size)
{
    int protection = protection_here(r);

    /* Clients return the pairs of the challenge, and send a MIC when a timestamp is among them. So
     * somebody between who removes the timestamp makes the client send no MIC (3.1.5.1.2). */
    if (auth->server_time != nc->server_time)
        return "the response lacks the timestamp that was sent: the handshake was altered";
    if (auth->mic_offset
        && !ntlmssp_check_mic(session_key, nc->negotiate, nc->negotiate_size, nc->challenge,
                              nc->challenge_size, msg, size, auth->mic_offset))
        return "the MIC is wrong: the handshake was altered";
    if (protection == AUTH_NTLM_EP_REQUIRE && !auth->channel_binding)
        return "the client sent no channel binding, which AuthNtlmExtendedProtection requires";
    if (protection > AUTH_NTLM_EP_OFF && auth->channel_binding
        && !auth_ntlm_binding_matches(r, auth->channel_binding))
        return "the response is bound to another certificate: it was relayed, or TLS ends before "
               "this server";
    if (!auth_ntlm_is_target(r, auth_ntlm_config(r), auth->target_name, target_of(r)))
        return apr_psprintf(r->pool,
                            "the response was made for \"%s\": it was relayed, or AuthNtlmTargets "
                            "lacks that name of this server",
                            ap_escape_logitem(r->pool, auth->target_name));
    return NULL;
}

/* Copies what has to live as long as the connection, if the connection is the client's alone. */
static auth_ntlm_step_t handshake_grant(request_rec *r, ntlm_conn_t *nc,
                                        const auth_ntlm_proof_t *proof, auth_ntlm_reply_t *reply)
{
    int with_domain = *proof->domain && auth_ntlm_config(r)->omit_domain <= 0;

    r->user = with_domain ? apr_pstrcat(r->pool, proof->domain, "\\", proof->user, NULL)
                          : apr_pstrdup(r->pool, proof->user);
    memcpy(reply->session_key, proof->session_key, sizeof(reply->session_key));
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "NTLM: the connection belongs to \"%s\"",
                  ap_escape_logitem(r->pool, r->user));
    if (auth_ntlm_client_keeps(r)) {
        nc->user = apr_pstrdup(nc->pool, r->user);
        nc->state = NTLM_KNOWN;
    }
    else if (!auth_ntlm_conn_told(r->connection))
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      RPCNO(0110) "NTLM: each request on this connection needs a login of its own: "
                      "without \"Connection: keep-alive\" a proxy may have sent it, and share the "
                      "connection");
    return AUTH_NTLM_STEP_GRANTED;
}

static auth_account_t account_of(request_rec *r, const auth_ntlm_attempt_t *attempt)
{
    return auth_ntlm_account(r, r->pool, *attempt->domain
                             ? apr_pstrcat(r->pool, attempt->domain, "\\", attempt->user,
                                           NULL) : attempt->user);
}

static auth_ntlm_step_t handshake_judge(request_rec *r, ntlm_conn_t *nc,
                                        const ntlmssp_authenticate_t *auth,
                                        const uint8_t *msg, size_t size, auth_ntlm_reply_t *reply)
{
    const auth_failures_limit_t *limit = &auth_ntlm_config(r)->failures;
    auth_ntlm_attempt_t attempt = { .auth = auth };
    auth_ntlm_proof_t proof = { "", "", { 0 } };
    auth_account_t account;
    const char *wrong;

    split_name(r, auth, &attempt);
    account = account_of(r, &attempt);
    memcpy(attempt.challenge, nc->nonce, sizeof(attempt.challenge));
    if (auth_failures_blocked(r, limit, &account))
        return AUTH_NTLM_STEP_REFUSED;
    switch (ask_providers(r, &attempt, &proof)) {
    case AUTH_NTLM_GRANTED:
        break;
    case AUTH_NTLM_ERROR:
        return AUTH_NTLM_STEP_ERROR;
    default:
        auth_failures_count(r, limit, &account);
        return AUTH_NTLM_STEP_REFUSED;
    }
    if (!ntlmssp_exported_key(auth, proof.session_key))
        return handshake_refuse(r, "the response has no key for the key exchange");
    wrong = wrong_bond(r, nc, auth, proof.session_key, msg, size);
    if (wrong)
        return handshake_refuse(r, wrong);
    if (auth_failures_blocked(r, limit, &account))     /* other tries may have failed meanwhile */
        return AUTH_NTLM_STEP_REFUSED;
    auth_failures_success(r, limit, &account);
    reply->key_exch = (auth->flags & NTLMSSP_KEY_EXCH) != 0;
    return handshake_grant(r, nc, &proof, reply);
}

/* The challenge is used up, whatever the result is. */
static auth_ntlm_step_t take_authenticate(request_rec *r, ntlm_conn_t *nc, const uint8_t *msg,
                                          size_t size,
                                          auth_ntlm_reply_t *reply)
{
    ntlmssp_authenticate_t auth;
    ntlm_settings_t here = settings_here(r, r->pool);
    auth_account_t nobody = { "", "" };
    int challenged = nc->state == NTLM_CHALLENGED && same_settings(&nc->settings, &here);
    const char *wrong;

    nc->state = NTLM_FRESH;
    if (challenged && is_another(r, nc))
        return AUTH_NTLM_STEP_REFUSED;
    if (!challenged)
        return handshake_refuse(r, "the client sent a response, but got no challenge on this "
                                   "connection");
    wrong = ntlmssp_read_authenticate(msg, size, &auth);
    if (!wrong)
        wrong = wrong_form(nc, &auth);
    if (wrong) {
        auth_failures_count(r, &auth_ntlm_config(r)->failures, &nobody);
        return handshake_refuse(r, wrong);
    }
    return handshake_judge(r, nc, &auth, msg, size, reply);
}

auth_ntlm_step_t auth_ntlm_step(request_rec *r, const uint8_t *msg, size_t size,
                                auth_ntlm_reply_t *reply)
{
    ntlm_conn_t *nc = conn_state(r);

    switch (ntlmssp_type(msg, size)) {
    case 1:
        return take_negotiate(r, nc, msg, size, reply);
    case 3:
        return take_authenticate(r, nc, msg, size, reply);
    default:
        handshake_begin(r, nc);
        return handshake_refuse(r, "this is not a message that clients send");
    }
}

/* HTTP/2 handles the requests of a connection on several threads, so its state is made
 * beforehand. */
static int pre_connection(conn_rec *c, void *csd)
{
    if (!c->master)
        conn_begin(c);
    return OK;
}

void auth_ntlm_handshake_register(apr_pool_t *p)
{
    ap_hook_pre_connection(pre_connection, NULL, NULL, APR_HOOK_MIDDLE);
}
