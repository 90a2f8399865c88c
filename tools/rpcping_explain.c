/* rpcping_explain.c: which layer failed and why, by libcurl's result and the HTTP status. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "rpcping.h"

void ping_reason(ping_reason_t *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why->text, sizeof(why->text), format, args);
    va_end(args);
}

void ping_reason_add(ping_reason_t *why, const char *format, ...)
{
    size_t used = strlen(why->text);
    va_list args;

    va_start(args, format);
    vsnprintf(why->text + used, sizeof(why->text) - used, format, args);
    va_end(args);
}

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

static const char *words_of_401(const ping_channel_t *ch)
{
    const ping_http_t *http = ch->http;
    long offered = 0;

    curl_easy_getinfo(ch->easy, CURLINFO_HTTPAUTH_AVAIL, &offered);
    if (!http->options->user && !http->target->user && !http->options->netrc) {
        return "the proxy asks for a user (-u)";
    }
    if (offered && !((unsigned long)offered & http->options->auth)) {
        return offered & CURLAUTH_BASIC ? "this scheme is not offered, Basic is (-a basic)"
             : offered & CURLAUTH_NTLM  ? "this scheme is not offered, NTLM is (-a ntlm)"
             : offered & CURLAUTH_NEGOTIATE
                 ? "this scheme is not offered, Negotiate is (-a negotiate)"
                 : "neither Basic nor NTLM is offered";
    }
    if (http->auth == CURLAUTH_NEGOTIATE) {
        return "there is no ticket for this proxy (see klist), or the proxy does not accept it";
    }
    if (!ch->identified && http->options->netrc) {
        return "the file of --netrc-file has no user for this host";
    }
    return "the user name or the password is wrong";
}

static const char *words_of_status(long status)
{
    switch (status) {
    case 400: return "the proxy does not understand the request";
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

/* Every RPC error has the status 503 (2.1.2.1.3), but for those by which a mod_rpcproxy in front of
 * another RPC proxy tells of its own connection to that. */
static const char *words_of_rpc_error(long status, unsigned long error)
{
    const char *words = status == 502 ? "the proxy in front got no usable answer from the RPC "
                                        "proxy behind it"
                      : status == 504 ? "the proxy in front got no answer in time from the RPC "
                                        "proxy behind it"
                      : dce_status_text((uint32_t)error);

    return words ? words : "an RPC error that this program does not know";
}

static ping_layer_t explain_status(const ping_channel_t *ch, ping_layer_t else_layer,
                                   ping_reason_t *why)
{
    unsigned long error = rpc_error(ch->status_line);
    const char *end = strstr(ch->status_line, ", EEInfo");

    why->kind = error ? PING_CODE_RPC : PING_CODE_HTTP;
    why->code = error ? (uint32_t)error : (uint32_t)ch->status;
    ping_reason(why, "%s was answered \"%.*s\": %s", ch->method,
                end ? (int)(end - ch->status_line) : (int)strlen(ch->status_line), ch->status_line,
                error ? words_of_rpc_error(ch->status, error)
                : ch->status == 401 ? words_of_401(ch) : words_of_status(ch->status));
    ping_answerer_explain(&ch->answerer, ch->http->echo, why);
    if (ch->status == 401 || ch->status == 403 || ch->status == 407) {
        return PING_AUTH;
    }
    /* a proxy in front of another one may refuse the server at the echo already */
    return error && ch->status == 503 && else_layer == PING_ECHO ? PING_CONNECTION : else_layer;
}

/* Nothing came in time: how far did the connection get? */
static ping_layer_t explain_timeout(const ping_channel_t *ch, ping_layer_t else_layer,
                                    ping_reason_t *why)
{
    double timeout = ch->http->options->timeout, looked_up = 0;

    why->kind = PING_CODE_CURL;
    why->code = CURLE_OPERATION_TIMEDOUT;
    if (ch->requests > 1) {
        ping_reason(why, "the proxy began to authenticate the user and gave no further answer to "
                    "%s in %g s", ch->method, timeout);
        return PING_AUTH;
    }
    if (ch->requests) {
        ping_reason(why, "no answer to %s in %g s", ch->method, timeout);
        return else_layer;
    }
    if (ch->tls_begun) {
        ping_reason(why, "the TLS handshake did not end in %g s", timeout);
        return PING_TLS;
    }
    curl_easy_getinfo(ch->easy, CURLINFO_NAMELOOKUP_TIME, &looked_up);
    if (looked_up > 0) {
        ping_reason(why, "no TCP connection to %s in %g s", ch->http->target->host, timeout);
    }
    else {
        ping_reason(why, "the name %s was not resolved in %g s", ch->http->target->host, timeout);
    }
    return PING_ADDRESS;
}

ping_layer_t ping_explain(const ping_channel_t *ch, ping_layer_t else_layer, ping_reason_t *why)
{
    why->kind = PING_NO_CODE;
    why->code = 0;
    if (ch->status >= 300) {
        return explain_status(ch, else_layer, why);
    }
    if (!ch->done || ch->result == CURLE_OPERATION_TIMEDOUT) {
        return explain_timeout(ch, else_layer, why);
    }
    if (ch->result != CURLE_OK) {
        why->kind = PING_CODE_CURL;
        why->code = (uint32_t)ch->result;
        ping_reason(why, "%s%s", ch->error[0] ? ch->error : curl_easy_strerror(ch->result),
                    hint_of_result(ch->result, ch->http->target->tls));
        return ch->status ? else_layer : layer_of_result(ch->result, else_layer);
    }
    ping_reason(why, "the proxy ended its answer to %s (%s)", ch->method, ch->status_line);
    return else_layer;
}
