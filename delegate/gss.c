/* delegate/gss.c: own ticket -> S4U2Self -> S4U2Proxy.
 *
 * The own ticket is in a cache in memory that all threads read. One thread at a time renews it, at
 * a third of its life: at half of it libgssapi would do so itself, among the readers.
 */
#include "delegate/gss.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>

#include "base/clock.h"
#include "delegate/negotiate.h"

#define OWN_CACHE "MEMORY:rpc_backend_auth"

struct delegate_own {
    pthread_rwlock_t lock;
    apr_time_t renew_at;        /* 0: there is none yet */
};

/* ---- faults ---- */

/* Notes a failure of GSSAPI; returns 0. */
static int failed(delegate_errand_t *errand, delegate_step_t step, int forwardable, OM_uint32 major,
                  OM_uint32 minor)
{
    errand->fault = delegate_fault_of(errand->pool, step, &errand->names, forwardable, major,
                                      minor);
    return 0;
}

static int broken(delegate_errand_t *errand, const char *why)
{
    errand->fault = delegate_fault(DELEGATE_BROKEN, why);
    return 0;
}

static int refused(delegate_errand_t *errand, const char *why)
{
    errand->fault = delegate_fault(DELEGATE_REFUSED, why);
    return 0;
}

/* ---- the keytab ---- */

/* Like other programs that act as clients, by KRB5_CLIENT_KTNAME; a server may have but one
 * keytab. */
static const char *keytab_name(apr_pool_t *pool, krb5_context context)
{
    static const char *const variables[] = { "KRB5_CLIENT_KTNAME", "KRB5_KTNAME" };
    char name[1024] = "";
    krb5_keytab keytab;
    size_t i;

    for (i = 0; i < sizeof(variables) / sizeof(*variables); i++) {
        const char *value = getenv(variables[i]);

        if (value && *value)
            return apr_pstrdup(pool, value);
    }
    if (krb5_kt_client_default(context, &keytab) == 0) {
        krb5_kt_get_name(context, keytab, name, sizeof(name));
        krb5_kt_close(context, keytab);
    }
    return apr_pstrdup(pool, name);
}

static const char *keytab_fault(apr_pool_t *pool, krb5_context context, const char *name)
{
    krb5_keytab keytab;
    krb5_error_code code = krb5_kt_resolve(context, name, &keytab);
    const char *text, *fault;

    if (code == 0) {
        code = krb5_kt_have_content(context, keytab);
        krb5_kt_close(context, keytab);
    }
    if (code == 0)
        return NULL;
    text = krb5_get_error_message(context, code);
    fault = apr_psprintf(pool, "no keytab of this server's account: KRB5_CLIENT_KTNAME in httpd's "
                         "environment has to name one that httpd's User may read (%s)", text);
    krb5_free_error_message(context, text);
    return fault;
}

const char *delegate_gss_keytab_fault(apr_pool_t *pool)
{
    krb5_context context;
    const char *fault;

    if (krb5_init_context(&context) != 0)
        return "krb5.conf cannot be read: see KRB5_CONFIG";
    fault = keytab_fault(pool, context, keytab_name(pool, context));
    krb5_free_context(context);
    return fault;
}

/* ---- names ---- */

static int import_name(delegate_errand_t *errand, const char *text, gss_OID type, gss_name_t *name)
{
    gss_buffer_desc buffer = { strlen(text), (void *)text };
    OM_uint32 minor, major = gss_import_name(&minor, &buffer, type, name);

    return !GSS_ERROR(major) || broken(errand, apr_psprintf(errand->pool, "%s is not the name of a "
                                                            "principal", text));
}

/* NAME as text in POOL; it is released. */
static const char *text_of(apr_pool_t *pool, gss_name_t name)
{
    gss_buffer_desc buffer = GSS_C_EMPTY_BUFFER;
    OM_uint32 minor;
    const char *text = "";

    if (!GSS_ERROR(gss_display_name(&minor, name, &buffer, NULL)))
        text = apr_pstrmemdup(pool, buffer.value, buffer.length);
    gss_release_buffer(&minor, &buffer);
    gss_release_name(&minor, &name);
    return text;
}

/* Whose credentials they are; "": nobody's. */
static const char *owner_of(apr_pool_t *pool, gss_cred_id_t credentials)
{
    OM_uint32 minor;
    gss_name_t name = GSS_C_NO_NAME;

    if (GSS_ERROR(gss_inquire_cred(&minor, credentials, &name, NULL, NULL, NULL)) || !name)
        return "";
    return text_of(pool, name);
}

/* Do two principals name one user, as base/who sees it? */
static int is_same(apr_pool_t *pool, const char *a, const char *b)
{
    return strcmp(rpc_who_user(pool, a, RPC_WHO_WITH_DOMAIN),
                  rpc_who_user(pool, b, RPC_WHO_WITH_DOMAIN)) == 0;
}

/* The credentials that STORE has for a client. LIFETIME may be NULL. */
static int acquire(delegate_errand_t *errand, delegate_step_t step,
                   const gss_key_value_set_desc *store, gss_cred_id_t *credentials,
                   OM_uint32 *lifetime)
{
    OM_uint32 minor, major = gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE,
                                                   gss_mech_set_krb5, GSS_C_INITIATE, store,
                                                   credentials, NULL, lifetime);

    return !GSS_ERROR(major) || failed(errand, step, 1, major, minor);
}

/* ---- own credentials ---- */

static apr_status_t own_end(void *data)
{
    delegate_own_t *own = data;

    pthread_rwlock_destroy(&own->lock);
    return APR_SUCCESS;
}

delegate_own_t *delegate_own_make(apr_pool_t *pool)
{
    delegate_own_t *own = apr_pcalloc(pool, sizeof(*own));

    if (pthread_rwlock_init(&own->lock, NULL) != 0)
        return NULL;
    apr_pool_cleanup_register(pool, own, own_end, apr_pool_cleanup_null);
    return own;
}

static int acquire_own(delegate_errand_t *errand, gss_cred_id_t *credentials, OM_uint32 *lifetime)
{
    gss_key_value_element_desc element[] = {
        { "client_keytab", errand->names.keytab }, { "ccache", OWN_CACHE }
    };
    gss_key_value_set_desc store = { 2, element };

    return acquire(errand, DELEGATE_OWN, &store, credentials, lifetime);
}

/* Gets the own ticket anew, unless another thread has done it meanwhile. */
static int renew_own(delegate_own_t *own, delegate_errand_t *errand, krb5_context context)
{
    gss_cred_id_t credentials;
    OM_uint32 minor, lifetime = 0;
    krb5_ccache cache;
    int done = 1;

    pthread_rwlock_wrlock(&own->lock);
    if (own->renew_at <= rpc_clock_now()) {
        if (krb5_cc_resolve(context, OWN_CACHE, &cache) == 0)
            krb5_cc_destroy(context, cache);
        done = acquire_own(errand, &credentials, &lifetime);
        if (done) {
            own->renew_at = rpc_clock_now() + apr_time_from_sec(lifetime / 3 + 1);
            gss_release_cred(&minor, &credentials);
        }
    }
    pthread_rwlock_unlock(&own->lock);
    return done;
}

/* Holds OWN's lock, for reading, when it succeeds. */
static int read_own(delegate_own_t *own, delegate_errand_t *errand, krb5_context context,
                    gss_cred_id_t *credentials)
{
    pthread_rwlock_rdlock(&own->lock);
    while (own->renew_at <= rpc_clock_now()) {
        pthread_rwlock_unlock(&own->lock);
        if (!renew_own(own, errand, context))
            return 0;
        pthread_rwlock_rdlock(&own->lock);
    }
    if (acquire_own(errand, credentials, NULL))
        return 1;
    pthread_rwlock_unlock(&own->lock);
    return 0;
}

/* ---- the user's credentials ---- */

/* S4U2Self. */
static int ask_for_user(delegate_own_t *own, delegate_errand_t *errand, krb5_context context,
                        const delegate_principal_t *user, gss_cred_id_t *credentials)
{
    gss_name_t name = GSS_C_NO_NAME;
    gss_cred_id_t ours;
    OM_uint32 ignored, minor, major;
    const char *fault;

    errand->names.keytab = keytab_name(errand->pool, context);
    fault = keytab_fault(errand->pool, context, errand->names.keytab);
    if (fault)
        return broken(errand, fault);
    if (!import_name(errand, user->text, user->enterprise ? GSS_KRB5_NT_ENTERPRISE_NAME
                                                          : (gss_OID)GSS_KRB5_NT_PRINCIPAL_NAME,
                     &name))
        return 0;
    if (!read_own(own, errand, context, &ours)) {
        gss_release_name(&ignored, &name);
        return 0;
    }
    errand->names.own = owner_of(errand->pool, ours);
    major = gss_acquire_cred_impersonate_name(&minor, ours, name, GSS_C_INDEFINITE,
                                              gss_mech_set_krb5, GSS_C_INITIATE, credentials, NULL,
                                              NULL);
    pthread_rwlock_unlock(&own->lock);
    if (GSS_ERROR(major))
        failed(errand, DELEGATE_SELF, 1, major, minor);
    gss_release_cred(&ignored, &ours);
    gss_release_name(&ignored, &name);
    return !GSS_ERROR(major);
}

/* What another module, such as mod_auth_gssapi, has left for this request. */
static int take_left(delegate_errand_t *errand, gss_cred_id_t *credentials)
{
    gss_key_value_element_desc element[] = { { "ccache", errand->ccache } };
    gss_key_value_set_desc store = { 1, element };

    return acquire(errand, DELEGATE_LEFT, &store, credentials, NULL);
}

/* Are they the credentials of the user, and of nobody else? For an enterprise name the KDC has said
 * who that is. */
static int check_owner(delegate_errand_t *errand, const delegate_principal_t *user,
                       const char *owner)
{
    int is_own = errand->names.own && is_same(errand->pool, owner, errand->names.own);

    if (*owner && !is_own
        && ((user->enterprise && !errand->ccache) || is_same(errand->pool, owner, user->text)))
        return 1;
    return refused(errand, apr_psprintf(errand->pool, "the ticket is not one of %s but of \"%s\": "
                                        "it is not used", user->text, owner));
}

static delegate_ticket_t *ticket_of(delegate_errand_t *errand, gss_cred_id_t credentials)
{
    delegate_ticket_t *ticket = calloc(1, sizeof(*ticket));

    if (!ticket)
        return NULL;
    ticket->credentials = credentials;
    ticket->client = strdup(errand->names.client);
    ticket->service_text = strdup(errand->names.service);
    if (ticket->client && ticket->service_text
        && import_name(errand, errand->names.service, (gss_OID)GSS_KRB5_NT_PRINCIPAL_NAME,
                       &ticket->service))
        return ticket;
    ticket->credentials = GSS_C_NO_CREDENTIAL;
    delegate_gss_free(ticket);
    return NULL;
}

static delegate_ticket_t *fetch(delegate_own_t *own, delegate_errand_t *errand,
                                krb5_context context)
{
    gss_cred_id_t credentials = GSS_C_NO_CREDENTIAL;
    delegate_ticket_t *ticket = NULL;
    delegate_principal_t user;
    const char *fault = delegate_principal(errand->pool, context, &errand->who, &user), *owner;
    OM_uint32 minor;

    if (fault) {
        refused(errand, fault);
        return NULL;
    }
    errand->names.client = user.text;
    errand->names.service = delegate_service(errand->pool, context, errand->service);
    if (!errand->names.service) {
        broken(errand, "krb5.conf has no default_realm");
        return NULL;
    }
    if (!(errand->ccache ? take_left(errand, &credentials)
                         : ask_for_user(own, errand, context, &user, &credentials)))
        return NULL;
    owner = owner_of(errand->pool, credentials);
    if (check_owner(errand, &user, owner)) {
        errand->names.client = owner;
        ticket = ticket_of(errand, credentials);
    }
    if (!ticket)
        gss_release_cred(&minor, &credentials);
    return ticket;
}

delegate_ticket_t *delegate_gss_fetch(delegate_own_t *own, delegate_errand_t *errand)
{
    delegate_ticket_t *ticket;
    krb5_context context;

    errand->fault = delegate_fault(DELEGATE_BROKEN, "there is no memory");
    if (krb5_init_context(&context) != 0) {
        broken(errand, "krb5.conf cannot be read: see KRB5_CONFIG");
        return NULL;
    }
    ticket = fetch(own, errand, context);
    krb5_free_context(context);
    return ticket;
}

void delegate_gss_free(delegate_ticket_t *ticket)
{
    OM_uint32 minor;

    gss_release_cred(&minor, &ticket->credentials);
    gss_release_name(&minor, &ticket->service);
    free(ticket->client);
    free(ticket->service_text);
    free(ticket);
}

/* ---- the token ---- */

/* Is ENTRY of a cache the user's ticket for this server, which the KDC was asked to act upon? */
static int is_evidence(krb5_context context, const krb5_creds *entry)
{
    const krb5_data *first = entry->server->length ? &entry->server->data[0] : NULL;

    return !krb5_is_config_principal(context, entry->server) && first
        && !(first->length == KRB5_TGS_NAME_SIZE
             && memcmp(first->data, KRB5_TGS_NAME, KRB5_TGS_NAME_SIZE) == 0);
}

/* May the KDC act upon the user's ticket? 1 as well if that is not known. */
static int is_forwardable(const delegate_ticket_t *ticket)
{
    krb5_context context;
    krb5_ccache cache;
    krb5_cc_cursor cursor;
    krb5_creds entry;
    OM_uint32 minor;
    int forwardable = 1;

    if (krb5_init_context(&context) != 0)
        return 1;
    if (krb5_cc_new_unique(context, "MEMORY", NULL, &cache) == 0) {
        if (!GSS_ERROR(gss_krb5_copy_ccache(&minor, ticket->credentials, cache))
            && krb5_cc_start_seq_get(context, cache, &cursor) == 0) {
            while (krb5_cc_next_cred(context, cache, &cursor, &entry) == 0) {
                if (is_evidence(context, &entry))
                    forwardable = (entry.ticket_flags & TKT_FLG_FORWARDABLE) != 0;
                krb5_free_cred_contents(context, &entry);
            }
            krb5_cc_end_seq_get(context, cache, &cursor);
        }
        krb5_cc_destroy(context, cache);
    }
    krb5_free_context(context);
    return forwardable;
}

/* Without mutual authentication, which TLS is there for, the context is complete at once and says
 * whose it is. */
static const char *checked_field(delegate_errand_t *errand, gss_ctx_id_t context,
                                 const gss_buffer_desc *token)
{
    OM_uint32 minor, major;
    gss_name_t name = GSS_C_NO_NAME;
    const char *owner = "";

    major = gss_inquire_context(&minor, context, &name, NULL, NULL, NULL, NULL, NULL, NULL);
    if (!GSS_ERROR(major) && name)
        owner = text_of(errand->pool, name);
    if (strcmp(owner, errand->names.client) == 0)
        return delegate_negotiate(errand->pool, token->value, token->length);
    refused(errand, apr_psprintf(errand->pool, "the token is not one of %s but of \"%s\": it is "
                                 "not sent", errand->names.client, owner));
    return NULL;
}

const char *delegate_gss_field(delegate_errand_t *errand, delegate_ticket_t *ticket,
                               apr_interval_time_t *lifetime)
{
    gss_ctx_id_t context = GSS_C_NO_CONTEXT;
    gss_buffer_desc token = GSS_C_EMPTY_BUFFER;
    OM_uint32 ignored, minor, seconds = 0, major;
    const char *field = NULL;

    errand->names.client = apr_pstrdup(errand->pool, ticket->client);
    errand->names.service = apr_pstrdup(errand->pool, ticket->service_text);
    major = gss_init_sec_context(&minor, ticket->credentials, &context, ticket->service,
                                 (gss_OID)gss_mech_krb5, 0, GSS_C_INDEFINITE,
                                 GSS_C_NO_CHANNEL_BINDINGS, GSS_C_NO_BUFFER, NULL, &token, NULL,
                                 &seconds);
    if (major == GSS_S_COMPLETE)
        field = checked_field(errand, context, &token);
    else
        failed(errand, DELEGATE_PROXY, is_forwardable(ticket), major, minor);
    *lifetime = apr_time_from_sec(seconds);
    gss_release_buffer(&ignored, &token);
    gss_delete_sec_context(&ignored, &context, GSS_C_NO_BUFFER);
    return field;
}
