/* rpcping_answer.c: who has answered a request. A proxy may pass an answer on from a proxy behind
 * it, or answer by itself; the fields Server and Via and the extended error information
 * ([MS-EERR] 2.2.1.8; doc/protocol.md, "EEInfo") tell it, as far as it can be known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>
#include "rpcping.h"

/* ---- extended error information: the first record, in the encoding of Windows ---- */

#define EEINFO_MAX      768     /* the reason phrase has at most 1,024 bytes in base64 */
#define EEINFO_NEXT     24
#define EEINFO_NAMED    28      /* u16: 1 before a name */
#define EEINFO_UNNAMED  32      /* what follows the name when there is none */
#define EEINFO_NAME_LEN 32      /* u16, in characters of UTF-16 */
#define EEINFO_NAME     8       /* bytes that a name takes before what follows it */
#define EEINFO_SIZE     72      /* of all this, with a name */
#define RPC_PROXY       0x0e    /* GeneratingComponent */
#define CONNECTING      0x05a0  /* DetectionLocation; 2.2.3 has no other */

typedef struct eeinfo {
    uint8_t data[EEINFO_MAX + 3];
    size_t len;
} eeinfo_t;

static uint32_t u16(const eeinfo_t *e, size_t at)
{
    return (uint32_t)(e->data[at] | e->data[at + 1] << 8);
}

static uint32_t u32(const eeinfo_t *e, size_t at)
{
    return u16(e, at) | u16(e, at + 2) << 16;
}

static int decode(eeinfo_t *e, const char *base64)
{
    size_t len = strspn(base64, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789+/=");
    int n;

    len -= len % 4;
    memset(e, 0, sizeof(*e));
    if (len > EEINFO_MAX / 3 * 4) {
        return 0;
    }
    n = EVP_DecodeBlock(e->data, (const uint8_t *)base64, (int)len);
    e->len = n > 0 ? (size_t)n : 0;
    return e->len >= EEINFO_SIZE - EEINFO_NAME && e->data[0] == 1 && e->data[1] == 0x10;
}

/* The name stands somewhere behind the fixed part, with its length before it. */
static void find_name(const eeinfo_t *e, ping_answerer_t *who)
{
    size_t chars = u16(e, EEINFO_NAME_LEN), at, i;

    for (at = EEINFO_SIZE; chars > 0 && at + 4 + 2 * chars <= e->len; at += 4) {
        if (u32(e, at) != chars) {
            continue;
        }
        for (i = 0; i < chars && i < sizeof(who->computer) - 1; i++) {
            uint32_t c = u16(e, at + 4 + 2 * i);

            who->computer[i] = c == 0 ? '\0' : c > ' ' && c <= '~' ? (char)c : '?';
        }
        return;
    }
}

static void take_eeinfo(ping_answerer_t *who, const char *status_line)
{
    const char *base64 = strstr(status_line, ", EEInfo: ");
    size_t base = EEINFO_UNNAMED;
    eeinfo_t e;

    if (!base64 || !decode(&e, base64 + 10)) {
        return;
    }
    if (u16(&e, EEINFO_NAMED) == 1 && e.len >= EEINFO_SIZE) {
        base += EEINFO_NAME;
        find_name(&e, who);
    }
    who->process = u32(&e, base);
    who->connecting = u32(&e, base + 16) == RPC_PROXY && u16(&e, base + 24) == CONNECTING;
    who->eeinfo = base == EEINFO_UNNAMED && who->process == 0 && u32(&e, EEINFO_NEXT) == 0
               && u32(&e, base + 16) == RPC_PROXY ? PING_EEINFO_NAMELESS : PING_EEINFO;
}

/* ---- fields ---- */

/* Appends a field's value to AT; a peer's control characters do not reach the terminal. */
static void append(char *at, size_t size, const char *value, const char *end)
{
    size_t used = strlen(at);

    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    if (used > 0 && used + 2 < size) {
        at[used++] = ',';
        at[used++] = ' ';
    }
    for (; value < end && used + 1 < size; value++) {
        at[used++] = (unsigned char)*value < ' ' || *value == 127 ? '?' : *value;
    }
    at[used] = '\0';
}

void ping_answerer_take(ping_answerer_t *who, const char *line, size_t len)
{
    const char *end = line + len;

    while (end > line && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ')) {
        end--;
    }
    len = (size_t)(end - line);
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        char text[1088];

        snprintf(text, sizeof(text), "%.*s", (int)len, line);
        memset(who, 0, sizeof(*who));
        take_eeinfo(who, text);
    }
    else if (len > 7 && strncasecmp(line, "Server:", 7) == 0) {
        who->server[0] = '\0';
        append(who->server, sizeof(who->server), line + 7, end);
    }
    else if (len > 4 && strncasecmp(line, "Via:", 4) == 0) {
        append(who->via, sizeof(who->via), line + 4, end);
    }
}

/* ---- words ---- */

const char *ping_answerer_text(const ping_answerer_t *who, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s%s", who->server,
             who->via[0] ? who->server[0] ? ", by way of " : "by way of " : "", who->via,
             who->via[0] ? " (Via)" : "");
    return text;
}

/* Who wrote an RPC error. */
static void explain_eeinfo(const ping_answerer_t *who, ping_reason_t *why)
{
    if (who->connecting) {
        ping_reason_add(why, "; the proxy tried to connect to the server and could not");
    }
    if (who->computer[0]) {
        ping_reason_add(why, "; the error comes from the computer %s, process %u", who->computer,
                        who->process);
    }
    else if (who->process) {
        ping_reason_add(why, "; the error comes from process %u of a computer that it does not "
                        "name", who->process);
    }
    else if (who->eeinfo == PING_EEINFO_NAMELESS) {
        ping_reason_add(why, "; the error has the form of mod_rpcproxy");
    }
}

void ping_answerer_explain(const ping_answerer_t *who, const ping_answerer_t *echo,
                           ping_reason_t *why)
{
    explain_eeinfo(who, why);
    if (who->via[0]) {
        ping_reason_add(why, "; the answer came by way of %s (Via), so from behind it", who->via);
    }
    else if (echo && echo->via[0]) {
        ping_reason_add(why, "; the answer did not come by way of %s (Via) as the echo's did, so "
                        "the proxy in front has answered by itself", echo->via);
    }
    else if (echo && who->server[0] && echo->server[0] && strcmp(who->server, echo->server) != 0) {
        ping_reason_add(why, "; %s has answered this, and %s the echo: these are two proxies, one "
                        "behind the other", who->server, echo->server);
    }
}
