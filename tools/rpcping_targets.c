/* rpcping_targets.c: what is tested. The URL of an argument or a line becomes the URL of the
 * request. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "rpcping.h"

#define DEFAULT_PATH "/rpc/rpcproxy.dll"
#define BLANKS " \t\r\n"

/* "server:port" as the query of the request (2.2.2): printable, with a port. Returns what is
 * wrong. */
static const char *check_server(const char *server)
{
    const char *port = strrchr(server, ':'), *p;
    char *end;

    for (p = server; *p; p++) {
        if (*p <= ' ' || *p > '~' || *p == '#') {
            return "the server has a character that cannot stand in a URL";
        }
    }
    if (!port || port == server || port[1] < '0' || port[1] > '9'
        || strtoul(port + 1, &end, 10) > 65535 || *end) {
        return "the server is to be written server:port";
    }
    return NULL;
}

/* A copy by malloc, or NULL. */
static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL, *copy;

    if (curl_url_get(url, part, &text, flags) != CURLUE_OK) {
        return NULL;
    }
    copy = strdup(text);
    curl_free(text);
    return copy;
}

/* A path in the URL is the path of the proxy. */
static int set_path(CURLU *url, const char *option)
{
    char *path = url_part(url, CURLUPART_PATH, 0);
    const char *use = option ? option : path && strcmp(path, "/") != 0 ? path : DEFAULT_PATH;
    int ok = curl_url_set(url, CURLUPART_PATH, use, 0) == CURLUE_OK;

    free(path);
    return ok;
}

/* Takes the URL apart, and puts it together without user and password and with the server. */
static const char *take_url(ping_target_t *t, CURLU *url, const ping_options_t *o)
{
    char *scheme = url_part(url, CURLUPART_SCHEME, 0);
    int known = scheme && (strcmp(scheme, "https") == 0 || strcmp(scheme, "http") == 0);

    t->tls = known && strcmp(scheme, "https") == 0;
    free(scheme);
    if (!known) {
        return "the URL is to begin with https:// or http://";
    }
    t->user = url_part(url, CURLUPART_USER, CURLU_URLDECODE);
    t->password = url_part(url, CURLUPART_PASSWORD, CURLU_URLDECODE);
    curl_url_set(url, CURLUPART_USER, NULL, 0);
    curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
    curl_url_set(url, CURLUPART_QUERY, t->server, 0);
    curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
    if (!set_path(url, o->path)) {
        return "the path cannot stand in a URL";
    }
    t->host = url_part(url, CURLUPART_HOST, 0);
    t->url = url_part(url, CURLUPART_URL, 0);
    return t->host && t->url ? NULL : "out of memory";
}

/* Returns what is wrong with the two. */
static const char *set_target(ping_target_t *t, const ping_options_t *o, const char *arg,
                              const char *server)
{
    const char *wrong = check_server(server);
    CURLU *url;

    if (wrong) {
        return wrong;
    }
    url = curl_url();
    t->server = strdup(server);
    if (!url || !t->server) {
        wrong = "out of memory";
    }
    else if (curl_url_set(url, CURLUPART_URL, arg, 0) != CURLUE_OK) {
        wrong = "the proxy is to be a URL such as https://proxy.example.com";
    }
    else {
        wrong = take_url(t, url, o);
    }
    curl_url_cleanup(url);
    return wrong;
}

static ping_target_t *add_target(ping_targets_t *targets)
{
    ping_target_t *longer = realloc(targets->target, (targets->count + 1) * sizeof(*longer));

    if (!longer) {
        return NULL;
    }
    targets->target = longer;
    memset(&longer[targets->count], 0, sizeof(*longer));
    return &longer[targets->count++];
}

static int add(ping_targets_t *targets, const ping_options_t *o, const char *url,
               const char *server, const char *place)
{
    ping_target_t *t = add_target(targets);
    const char *wrong = t ? set_target(t, o, url, server) : "out of memory";

    if (wrong) {
        return ping_usage_error(o, "%s%s", place, wrong);
    }
    if (t->user && !t->password && o->password) {
        t->password = strdup(o->password);
    }
    return ping_password_complete(o, t->user, &t->password);
}

/* "URL server:port", "server:port" where the URL is an argument, nothing, each perhaps with a
 * # and a comment. */
static int add_line(ping_targets_t *targets, const ping_options_t *o, char *line,
                    const char *place)
{
    char *rest, *word[3];
    int n = 0;

    for (word[0] = strtok_r(line, BLANKS, &rest); word[n] && *word[n] != '#' && n < 2;) {
        word[++n] = strtok_r(NULL, BLANKS, &rest);
    }
    if (n == 0) {
        return 1;
    }
    if ((word[n] && *word[n] != '#') || (n == 1 && !o->url)) {
        return ping_usage_error(o, "%sa line is to be: URL server:port%s", place,
                                o->url ? ", or server:port" : "");
    }
    return add(targets, o, n == 2 ? word[0] : o->url, word[n - 1], place);
}

static int read_lines(ping_targets_t *targets, const ping_options_t *o, FILE *f)
{
    char place[PING_TEXT_SIZE / 2], *line = NULL;
    size_t cap = 0;
    unsigned number = 0;
    int ok = 1;

    while (ok && getline(&line, &cap, f) >= 0) {
        snprintf(place, sizeof(place), "%s, line %u: ", o->all, ++number);
        ok = add_line(targets, o, line, place);
    }
    if (ok && ferror(f)) {
        ok = ping_usage_error(o, "%s: %s", o->all, strerror(errno));
    }
    free(line);
    if (ok && targets->count == 0) {
        return ping_usage_error(o, "%s has no target", o->all);
    }
    return ok;
}

int ping_targets_read(ping_targets_t *targets, const ping_options_t *o)
{
    FILE *f;
    int ok;

    if (!o->all) {
        return add(targets, o, o->url, o->server, "");
    }
    f = strcmp(o->all, "-") == 0 ? stdin : fopen(o->all, "r");
    if (!f) {
        return ping_usage_error(o, "%s: %s", o->all, strerror(errno));
    }
    ok = read_lines(targets, o, f);
    if (f != stdin) {
        fclose(f);
    }
    return ok;
}

void ping_targets_free(ping_targets_t *targets)
{
    size_t i;

    for (i = 0; i < targets->count; i++) {
        ping_target_t *t = &targets->target[i];

        free(t->server);
        free(t->url);
        free(t->host);
        free(t->user);
        free(t->password);
    }
    free(targets->target);
}
