/* rpcping_http.c: HTTP by libcurl's multi interface. All requests are uploads: an IN channel of a
 * gigabyte, whose body is sent as it is made (the read callback pauses when there is nothing to
 * send); an OUT channel of 76 bytes; an echo request of 4 bytes.
 */
#define _GNU_SOURCE
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "rpcping.h"

double ping_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1000 + (double)ts.tv_nsec / 1e6;
}

int ping_http_start(ping_http_t *http, const ping_options_t *options, const ping_target_t *target)
{
    memset(http, 0, sizeof(*http));
    http->options = options;
    http->target = target;
    http->auth = options->auth;
    http->multi = curl_multi_init();
    return http->multi != NULL;
}

void ping_http_end(ping_http_t *http)
{
    if (http->multi) {
        curl_multi_cleanup(http->multi);
    }
}

/* TLS details, read from OpenSSL while libcurl still holds the connection; another TLS
 * library under libcurl leaves them unknown. */

static void note_subject(ping_tls_t *tls, X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n = 0, days = 0, seconds;

    if (bio) {
        X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0,
                           XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
        n = BIO_read(bio, tls->subject, sizeof(tls->subject) - 1);
        BIO_free(bio);
    }
    tls->subject[n > 0 ? n : 0] = '\0';
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert))) {
        tls->days_left = days;
    }
}

static void note_tls(ping_tls_t *tls, CURL *easy)
{
    struct curl_tlssessioninfo *info = NULL;
    SSL *ssl;
    X509 *cert;
    long verdict;

    if (tls->known || curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || !info
        || info->backend != CURLSSLBACKEND_OPENSSL || !info->internals) {
        return;
    }
    ssl = info->internals;
    snprintf(tls->version, sizeof(tls->version), "%s", SSL_get_version(ssl));
    snprintf(tls->cipher, sizeof(tls->cipher), "%s", SSL_get_cipher_name(ssl));
    verdict = SSL_get_verify_result(ssl);
    if (verdict != X509_V_OK) {
        snprintf(tls->problem, sizeof(tls->problem), "%s", X509_verify_cert_error_string(verdict));
    }
    cert = SSL_get1_peer_certificate(ssl);
    if (cert) {
        note_subject(tls, cert);
        X509_free(cert);
    }
    tls->known = 1;
}

/* libcurl's callbacks */

static size_t on_read(char *buffer, size_t size, size_t count, void *ctx)
{
    ping_channel_t *ch = ctx;
    size_t room = size * count, left = ch->body.len - ch->taken;

    if (left == 0) {
        ch->paused = 1;
        return CURL_READFUNC_PAUSE;
    }
    if (left > room) {
        left = room;
    }
    memcpy(buffer, ch->body.data + ch->taken, left);
    ch->taken += left;
    return left;
}

/* Authentication may ask for the body again, but only from its beginning. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    ping_channel_t *ch = ctx;

    if (offset != 0 || origin != SEEK_SET) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    ch->taken = 0;
    return CURL_SEEKFUNC_OK;
}

/* Without the line's end, and without control characters of the peer. */
static void note_status_line(ping_channel_t *ch, const char *line, size_t len)
{
    char *at = ch->status_line;

    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n')) {
        len--;
    }
    snprintf(at, sizeof(ch->status_line), "%.*s", (int)len, line);
    for (; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 127) {
            *at = '?';
        }
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
    ping_channel_t *ch = ctx;
    size_t len = size * count;

    ping_answerer_take(&ch->answerer, line, len);
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        note_status_line(ch, line, len);
        curl_easy_getinfo(ch->easy, CURLINFO_RESPONSE_CODE, &ch->status);
        note_tls(&ch->http->tls, ch->easy);
    }
    return len;
}

static size_t on_write(char *data, size_t size, size_t count, void *ctx)
{
    ping_channel_t *ch = ctx;

    if (ch->status == 200 && ch->take) {
        ch->take(ch->ctx, (const uint8_t *)data, size * count);
    }
    return size * count;
}

/* Is this the head of the answer to this request, and not to a CONNECT to an HTTP proxy in
 * between? */
static void note_request(ping_channel_t *ch, const char *head, size_t len)
{
    size_t name = strlen(ch->method);

    if (len > name && memcmp(head, ch->method, name) == 0) {
        ch->requests++;
        ch->identified = memmem(head, len, "\r\nAuthorization:", 16) != NULL;
        ch->status = 0;
        ch->status_line[0] = '\0';
    }
}

/* libcurl's messages about its progress show how far a silent connection has come. */
static int on_debug(CURL *easy, curl_infotype type, char *data, size_t len, void *ctx)
{
    ping_channel_t *ch = ctx;

    switch (type) {
    case CURLINFO_TEXT:
        if (ch->http->options->verbose > 1) {
            fprintf(stderr, "    %-12s * %.*s", ch->method, (int)len, data);
        }
        break;
    case CURLINFO_SSL_DATA_OUT:
        ch->tls_begun = 1;
        break;
    case CURLINFO_HEADER_OUT:
        note_request(ch, data, len);
        break;
    default:
        break;
    }
    return 0;
}

/* Channels */

static int add_header(ping_channel_t *ch, const char *line)
{
    struct curl_slist *longer = curl_slist_append(ch->headers, line);

    if (!longer) {
        return 0;
    }
    ch->headers = longer;
    return 1;
}

/* The fields of 2.1.2.1.1; an empty Expect keeps libcurl from asking for 100-continue. */
static int set_headers(ping_channel_t *ch)
{
    if (!add_header(ch, "Accept: application/rpc") || !add_header(ch, "Cache-Control: no-cache")
        || !add_header(ch, "Connection: Keep-Alive") || !add_header(ch, "Pragma: No-cache")
        || !add_header(ch, "Expect:")) {
        return 0;
    }
    curl_easy_setopt(ch->easy, CURLOPT_HTTPHEADER, ch->headers);
    curl_easy_setopt(ch->easy, CURLOPT_USERAGENT, "MSRPC");
    return 1;
}

static void set_identity(CURL *easy, const ping_http_t *http)
{
    const ping_options_t *o = http->options;
    const ping_target_t *t = http->target;

    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)http->auth);
    if (t->user || o->user) {
        curl_easy_setopt(easy, CURLOPT_USERNAME, t->user ? t->user : o->user);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, t->user ? t->password : o->password);
    }
    else if (o->netrc) {
        curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_REQUIRED);
        curl_easy_setopt(easy, CURLOPT_NETRC_FILE, o->netrc);
    }
    if (o->cacert) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, o->cacert);
    }
    if (o->insecure) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    /* an empty string: not the proxies of the environment either */
    curl_easy_setopt(easy, CURLOPT_PROXY, o->proxy ? o->proxy : "");
}

static void set_request(ping_channel_t *ch, curl_off_t length)
{
    CURL *easy = ch->easy;
    const ping_options_t *o = ch->http->options;

    curl_easy_setopt(easy, CURLOPT_URL, ch->http->target->url);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, ch->method);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, length);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(o->timeout * 1000));
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, ch->error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, ch);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, ch);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, ch);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, ch);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, ch);
    curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_debug);
    curl_easy_setopt(easy, CURLOPT_DEBUGDATA, ch);
    curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);     /* nothing waits for a name that hangs */
#endif
}

ping_channel_t *ping_channel_open(ping_http_t *http, const char *method, curl_off_t length,
                                  const void *data, size_t len,
                                  void (*take)(void *ctx, const uint8_t *data, size_t len),
                                  void *ctx)
{
    ping_channel_t *ch = calloc(1, sizeof(*ch));

    if (!ch) {
        return NULL;
    }
    ch->http = http;
    ch->method = method;
    ch->take = take;
    ch->ctx = ctx;
    ch->easy = curl_easy_init();
    ndr_out_bytes(&ch->body, data, len);
    if (!ch->easy || !ndr_out_ok(&ch->body) || !set_headers(ch)) {
        ping_channel_close(ch);
        return NULL;
    }
    set_request(ch, length);
    set_identity(ch->easy, http);
    if (curl_multi_add_handle(http->multi, ch->easy) != CURLM_OK) {
        ping_channel_close(ch);
        return NULL;
    }
    return ch;
}

void ping_channel_send(ping_channel_t *ch, const void *data, size_t len)
{
    if (ch->taken == ch->body.len) {
        ch->taken = ch->body.len = 0;   /* nothing left to send again: channels are past 401 */
    }
    ndr_out_bytes(&ch->body, data, len);
    if (ch->paused && !ch->done) {
        ch->paused = 0;
        curl_easy_pause(ch->easy, CURLPAUSE_CONT);
    }
}

int ping_channel_refused(const ping_channel_t *ch)
{
    return ch->status >= 300 && (ch->done || (ch->status != 401 && ch->status != 407));
}

void ping_channel_close(ping_channel_t *ch)
{
    if (!ch) {
        return;
    }
    if (ch->easy) {
        curl_multi_remove_handle(ch->http->multi, ch->easy);
        curl_easy_cleanup(ch->easy);
    }
    curl_slist_free_all(ch->headers);
    ndr_out_free(&ch->body);
    free(ch);
}

static void note_ended(ping_http_t *http)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(http->multi, &left)) != NULL) {
        ping_channel_t *ch = NULL;

        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&ch);
        if (msg->msg == CURLMSG_DONE && ch) {
            ch->done = 1;
            ch->result = msg->data.result;
        }
    }
}

int ping_http_wait(ping_http_t *http, double until, int (*satisfied)(void *ctx), void *ctx)
{
    int running;

    for (;;) {
        double left;

        if (curl_multi_perform(http->multi, &running) != CURLM_OK) {
            return 0;
        }
        note_ended(http);
        if (satisfied(ctx)) {
            return 1;
        }
        left = until - ping_now();
        if (left <= 0) {
            return 0;
        }
        curl_multi_poll(http->multi, NULL, 0, left > 1000 ? 1000 : (int)left + 1, NULL);
    }
}
