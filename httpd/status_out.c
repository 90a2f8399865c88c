/* httpd/status_out.c: one walk over a text, and a function that knows what to replace. */
#include "httpd/status_out.h"

#include <stdio.h>
#include <string.h>

#include <apr_lib.h>
#include <http_protocol.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* The bytes of the character at P; 0: it is not UTF-8. */
static size_t utf8_size(const unsigned char *p)
{
    size_t size = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3
                : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0, i;

    for (i = 1; i < size; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0)
        || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return size;
}

/* What stands for an ASCII character, perhaps in BUF; NULL: itself. */
typedef const char *escape_t(unsigned char c, char buf[8]);

static const char *html(unsigned char c, char buf[8])
{
    switch (c) {
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '&': return "&amp;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return c < ' ' || c == 0x7f ? REPLACEMENT : NULL;
    }
}

static const char *json(unsigned char c, char buf[8])
{
    if (c == '"')
        return "\\\"";
    if (c == '\\')
        return "\\\\";
    if (c >= ' ' && c != 0x7f)
        return NULL;
    snprintf(buf, 8, "\\u%04x", c);
    return buf;
}

/* OpenMetrics has these three escapes only. */
static const char *label(unsigned char c, char buf[8])
{
    switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    default: return c < ' ' || c == 0x7f ? REPLACEMENT : NULL;
    }
}

static void put(request_rec *r, const char *text, escape_t *escape)
{
    const char *p = text, *plain = text;

    while (*p) {
        size_t size = utf8_size((const unsigned char *)p);
        char buf[8];
        const char *instead = size == 1 ? escape((unsigned char)*p, buf)
                            : size ? NULL : REPLACEMENT;

        if (instead) {
            ap_rwrite(plain, (int)(p - plain), r);
            ap_rputs(instead, r);
            plain = p + 1;
        }
        p += size ? size : 1;
    }
    ap_rwrite(plain, (int)(p - plain), r);
}

void rpc_out_html(request_rec *r, const char *text)
{
    put(r, text, html);
}

void rpc_out_json(request_rec *r, const char *text)
{
    ap_rputc('"', r);
    put(r, text, json);
    ap_rputc('"', r);
}

void rpc_out_label(request_rec *r, const char *text)
{
    ap_rputc('"', r);
    put(r, text, label);
    ap_rputc('"', r);
}

void rpc_out_query(request_rec *r, const char *text)
{
    for (; *text; text++) {
        if (apr_isalnum(*text) || strchr("-._~", *text))
            ap_rputc(*text, r);
        else
            ap_rprintf(r, "%%%02X", (unsigned char)*text);
    }
}
