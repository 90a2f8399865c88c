/* auth/channel_binding.c: tls-server-end-point (RFC 5929 section 4): a hash of the certificate that
 * the client has seen. mod_ssl tells which certificate a connection has used. A resumed session
 * sends no certificate, and OpenSSL no longer knows with which of a host's certificates the session
 * began; so any certificate of the host is accepted then. The certificates are noted when mod_ssl
 * sets up a host.
 */
#include "auth/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <apr_hooks.h>
#include <apr_optional_hooks.h>
#include <http_log.h>
#include <http_ssl.h>

#include "auth/provider.h"

APLOG_USE_MODULE(auth_ntlm);

#define BINDING 16

/* A hook of mod_ssl. Distributions leave its header (mod_ssl_openssl.h) out. */
typedef int ssl_HOOK_init_server_t(server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *ctx);

/* The hash of the certificate's signature; but SHA-256 in place of MD5 and SHA-1, and for a
 * signature that names no hash (Ed25519), for which the RFC defines nothing. */
static const EVP_MD *digest_for(const X509 *cert)
{
    int md = NID_undef;

    if (!X509_get_signature_info((X509 *)cert, &md, NULL, NULL, NULL)
        || md == NID_undef || md == NID_md5 || md == NID_sha1)
        return EVP_sha256();
    return EVP_get_digestbynid(md);
}

static int binding_of(const X509 *cert, uint8_t binding[BINDING])
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned size;

    return X509_digest(cert, digest_for(cert), hash, &size)
           && ntlmssp_channel_binding("tls-server-end-point:", hash, size, binding);
}

/* ---- at start-up ---- */

/* Virtual hosts may share a merged configuration, but each has its own certificates. */
static int note_certificates(server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *ctx)
{
    apr_array_header_t *all = apr_array_make(p, 2, BINDING);
    X509 *current = SSL_CTX_get0_certificate(ctx);
    long more;

    if (is_proxy)
        return OK;
    for (more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST); more;
         more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_NEXT)) {
        const X509 *cert = SSL_CTX_get0_certificate(ctx);

        if (cert && !binding_of(cert, apr_array_push(all)))
            apr_array_pop(all);
    }
    if (current)
        SSL_CTX_select_current_cert(ctx, current);
    ap_set_module_config(s->module_config, &auth_ntlm_module, all);
    return OK;
}

void auth_ntlm_binding_register(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(ssl, init_server, note_certificates, NULL, NULL, APR_HOOK_MIDDLE);
}

/* ---- at a handshake ---- */

static const char *ssl_variable(request_rec *r, const char *name)
{
    const char *value = ap_ssl_var_lookup(r->pool, r->server, r->connection, r, name);

    return value ? value : "";
}

/* The certificate that r's connection has used, which the caller frees; NULL: none. */
static X509 *used_certificate(request_rec *r)
{
    BIO *bio = BIO_new_mem_buf(ssl_variable(r, "SSL_SERVER_CERT"), -1);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    return cert;
}

static int matches_used(request_rec *r, const uint8_t *binding)
{
    X509 *cert = used_certificate(r);
    uint8_t ours[BINDING];
    int same = cert && binding_of(cert, ours) && CRYPTO_memcmp(ours, binding, BINDING) == 0;

    X509_free(cert);
    return same;
}

int auth_ntlm_certificate_names(request_rec *r, const char *host)
{
    X509 *cert = ap_ssl_conn_is_ssl(r->connection) ? used_certificate(r) : NULL;
    int good = cert && (X509_check_host(cert, host, 0, 0, NULL) == 1
                        || X509_check_ip_asc(cert, host, 0) == 1);

    X509_free(cert);
    return good;
}

static int matches_any(const server_rec *s, const uint8_t *binding)
{
    const apr_array_header_t *all = ap_get_module_config(s->module_config, &auth_ntlm_module);
    int i;

    for (i = 0; all && i < all->nelts; i++) {
        if (CRYPTO_memcmp(all->elts + i * BINDING, binding, BINDING) == 0)
            return 1;
    }
    return 0;
}

int auth_ntlm_binding_matches(request_rec *r, const uint8_t *binding)
{
    if (!ap_ssl_conn_is_ssl(r->connection))
        return 0;
    return matches_used(r, binding)
           || (strcmp(ssl_variable(r, "SSL_SESSION_RESUMED"), "Resumed") == 0
               && matches_any(r->server, binding));
}
