/* rpcping_explain.c: which layer failed and why, by libcurl's result and the HTTP status. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include "rpcping.h"

static ping_layer_t layer_of_result(CURLcode result, ping_layer_t else_layer)
{
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return PING_ADDRESS;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_USE_SSL_FAILED:
        return PING_TLS;
    case CURLE_LOGIN_DENIED:
    case CURLE_AUTH_ERROR:
        return PING_AUTH;
    default:
        return else_layer;
    }
}

static const char *hint_of_result(CURLcode result, int tls)
{
    switch (result) {
    case CURLE_PEER_FAILED_VERIFICATION:
        return "; trust its issuer with --cacert FILE, or continue without verification with -k";
    case CURLE_SSL_CONNECT_ERROR:
        return "; is this really an https port?";
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:    /* an answer without a head, as HTTP/0.9 had */
        return "; the peer does not speak HTTP";
    case CURLE_GOT_NOTHING:
        return tls ? "; the proxy closed the connection" : "; is this an https port?";
    default:
        return "";
    }
}

/* "HTTP/1.1 503 RPC Error: 6ba, EEInfo: ...": the number, or 0. */
static unsigned long rpc_error(const char *status_line)
{
    const char *at = strstr(status_line, "RPC Error: ");
    return at ? strtoul(at + 11, NULL, 16) : 0;
}

/* What the extended error information adds: the only detection location that is documented
 * ([MS-EERR] 2.2.3). The first record is at the same place in every encoding without a computer
 * name. */
static const char *words_of_eeinfo(const char *status_line)
{
    const char *at = strstr(status_line, ", EEInfo: ");
    uint8_t blob[72];

    if (!at || strlen(at += 10) < 88 || EVP_DecodeBlock(blob, (const uint8_t *)at, 88) < 64
        || blob[48] != 0x0e || blob[56] != 0xa0 || blob[57] != 0x05) {
        return "";
    }
    return "; the proxy tried to connect to the server and could not";
}

static const char *words_of_401(const ping_channel_t *ch)
{
    long offered = 0;

    curl_easy_getinfo(ch->easy, CURLINFO_HTTPAUTH_AVAIL, &offered);
    if (!ch->http->options->user && !ch->http->options->netrc) {
        return "the proxy asks for a user (-u)";
    }
    if (offered && !((unsigned long)offered & ch->http->options->auth)) {
        return offered & CURLAUTH_BASIC ? "this scheme is not offered, Basic is (-a basic)"
             : offered & CURLAUTH_NTLM  ? "this scheme is not offered, NTLM is (-a ntlm)"
             : offered & CURLAUTH_NEGOTIATE
                 ? "this scheme is not offered, Negotiate is (-a negotiate)"
                 : "neither Basic nor NTLM is offered";
    }
    if (ch->http->auth == CURLAUTH_NEGOTIATE) {
        return "there is no ticket for this proxy (see klist), or the proxy does not accept it";
    }
    return "the user name or the password is wrong";
}

static const char *words_of_status(const ping_channel_t *ch)
{
    switch (ch->status) {
    case 400: return "the proxy does not understand the request";
    case 401: return words_of_401(ch);
    case 403: return "the user is not allowed, the proxy demands TLS or stronger TLS, or the "
                     "path does not belong to the proxy";
    case 404: return "no RPC proxy at this path (--path)";
    case 407: return "the HTTP proxy in between asks for a user";
    case 413: return "something in between does not allow a request of 1 GB";
    case 405:
    case 501: return "the web server does not know this method: no RPC proxy here";
    case 502:
    case 504: return "a gateway in between cannot reach the RPC proxy";
    case 503: return "the proxy is overloaded, or a gateway in between has no RPC proxy";
    default: return "an RPC proxy does not answer this";
    }
}

static ping_layer_t explain_status(const ping_channel_t *ch, ping_layer_t else_layer,
                                   char *text, size_t size)
{
    unsigned long error = rpc_error(ch->status_line);
    const char *words = error ? dce_status_text((uint32_t)error) : words_of_status(ch);
    const char *end = strstr(ch->status_line, ", EEInfo");

    snprintf(text, size, "%s was answered \"%.*s\": %s%s", ch->method,
             end ? (int)(end - ch->status_line) : (int)strlen(ch->status_line), ch->status_line,
             words ? words : "an RPC error that this program does not know",
             words_of_eeinfo(ch->status_line));
    return ch->status == 401 || ch->status == 403 || ch->status == 407 ? PING_AUTH : else_layer;
}

/* Nothing came in time: how far did the connection get? */
static ping_layer_t explain_timeout(const ping_channel_t *ch, ping_layer_t else_layer,
                                    char *text, size_t size)
{
    const ping_options_t *o = ch->http->options;
    double looked_up = 0;

    if (ch->requests > 1) {
        snprintf(text, size,
                 "the proxy began to authenticate the user and gave no further answer to "
                 "%s in %g s",
                 ch->method, o->timeout);
        return PING_AUTH;
    }
    if (ch->requests) {
        snprintf(text, size, "no answer to %s in %g s", ch->method, o->timeout);
        return else_layer;
    }
    if (ch->tls_begun) {
        snprintf(text, size, "the TLS handshake did not end in %g s", o->timeout);
        return PING_TLS;
    }
    curl_easy_getinfo(ch->easy, CURLINFO_NAMELOOKUP_TIME, &looked_up);
    snprintf(text, size, looked_up > 0 ? "no TCP connection to %s in %g s"
             : "the name %s was not resolved in %g s", o->host, o->timeout);
    return PING_ADDRESS;
}

ping_layer_t ping_explain(const ping_channel_t *ch, ping_layer_t else_layer, char *text,
                          size_t size)
{
    if (ch->status >= 300) {
        return explain_status(ch, else_layer, text, size);
    }
    if (!ch->done || ch->result == CURLE_OPERATION_TIMEDOUT) {
        return explain_timeout(ch, else_layer, text, size);
    }
    if (ch->result != CURLE_OK) {
        snprintf(text, size, "%s%s", ch->error[0] ? ch->error : curl_easy_strerror(ch->result),
                 hint_of_result(ch->result, ch->http->options->tls));
        return ch->status ? else_layer : layer_of_result(ch->result, else_layer);
    }
    snprintf(text, size, "the proxy ended its answer to %s (%s)", ch->method, ch->status_line);
    return else_layer;
}
