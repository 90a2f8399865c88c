/* rpcping_options.c: the command line: options, where the password comes from, and the complete
 * URL. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/version.h"
#include "rpcping.h"

#define DEFAULT_PATH "/rpc/rpcproxy.dll"

static const char usage_text[] =
    "usage: rpcping [options] URL server:port\n"
    "\n"
    "Asks the RPC-over-HTTP proxy at URL for a connection to server:port and says, layer by\n"
    "layer, what works: address, TLS, authentication, echo, virtual connection, bind and one\n"
    "call (mgmt inq_if_ids, which lists the server's interfaces).\n"
    "\n"
    "    rpcping -u demo:demo --cacert ca.pem https://localhost:8443 localhost:6001\n"
    "\n"
    "  -u, --user NAME[:PASSWORD]  also DOMAIN\\NAME; without a password rpcping asks for it\n"
    "  -p, --password-file FILE    its first line is the password; \"-\": standard input.\n"
    "                              Or the environment variable RPCPING_PASSWORD\n"
    "      --netrc-file FILE       name and password from a .netrc file\n"
    "  -a, --auth SCHEME           basic (default), ntlm, any (the better of these two that is\n"
    "                              offered), or negotiate (Kerberos, with a ticket of kinit)\n"
    "      --cacert FILE           the certificates to trust, PEM\n"
    "  -k, --insecure              accept any certificate\n"
    "      --path PATH             of the proxy (" DEFAULT_PATH ", or the URL's own)\n"
    "      --proxy URL             an HTTP proxy in between; those of the environment are ignored\n"
    "  -t, --timeout SECONDS       for each layer and each call (10)\n"
    "  -c, --count N               calls over the one virtual connection (1)\n"
    "  -i, --interval SECONDS      between two calls (1)\n"
    "  -q, --quiet                 one line, for monitoring\n"
    "      --nagios                as -q, with the exit status 0, 2 or 3 of its plug-ins\n"
    "  -v, --verbose               the PDUs on standard error; twice: libcurl's messages too\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "Exit status: 0 all works; else the layer that failed: 1 usage, 2 address (DNS, TCP),\n"
    "3 TLS or certificate, 4 authentication (401, 403), 5 no RPC proxy answers the echo,\n"
    "6 virtual connection (server refused or not reachable), 7 bind, 8 call.\n";

static int usage_error(const char *what)
{
    fprintf(stderr, "rpcping: %s\nTry rpcping --help.\n", what);
    return 0;
}

static int set_string(char **at, const char *value)
{
    free(*at);
    *at = strdup(value);
    return *at != NULL;
}

/* Splits "name:password" and removes the password from the list of processes. */
static int set_user(ping_options_t *o, char *arg)
{
    char *colon = strchr(arg, ':');

    if (colon) {
        *colon = '\0';
        if (!set_string(&o->password, colon + 1)) {
            return 0;
        }
        memset(colon + 1, 'x', strlen(colon + 1));
    }
    return set_string(&o->user, arg);
}

static int read_password(ping_options_t *o, const char *name)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;

    if (!f) {
        fprintf(stderr, "rpcping: %s: %s\n", name, strerror(errno));
        return 0;
    }
    len = getline(&line, &cap, f);
    if (f != stdin) {
        fclose(f);
    }
    if (len < 0) {
        free(line);
        return usage_error("the password file is empty");
    }
    line[strcspn(line, "\r\n")] = '\0';
    free(o->password);
    o->password = line;
    return 1;
}

static int set_scheme(ping_options_t *o, const char *name)
{
    static const struct { const char *name; unsigned long bits; } schemes[] = {
        { "basic", CURLAUTH_BASIC }, { "ntlm", CURLAUTH_NTLM }, { "any", PING_ANY_SCHEME },
        { "negotiate", CURLAUTH_NEGOTIATE }
    };
    size_t i;

    for (i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
        if (strcasecmp(name, schemes[i].name) == 0) {
            o->auth = schemes[i].bits;
            return 1;
        }
    }
    return usage_error("--auth is one of basic, ntlm, any, negotiate");
}

static int set_number(double *at, const char *text, double min, double max)
{
    char *end;

    *at = strtod(text, &end);
    if (end == text || *end || !(*at >= min && *at <= max)) {
        return usage_error("a number is out of range");
    }
    return 1;
}

enum { OPT_NETRC = 256, OPT_CACERT, OPT_PATH, OPT_PROXY, OPT_NAGIOS };

static int set_option(ping_options_t *o, int opt, char *arg)
{
    double number;

    switch (opt) {
    case 'u': return set_user(o, arg);
    case 'p': return read_password(o, arg);
    case 'a': return set_scheme(o, arg);
    case 'k': o->insecure = 1; return 1;
    case 't': return set_number(&o->timeout, arg, 0.001, 86400);
    case 'i': return set_number(&o->interval, arg, 0, 86400);
    case 'c':
        if (!set_number(&number, arg, 1, 1e9)) {
            return 0;
        }
        o->count = (long)number;
        return 1;
    case 'q': o->quiet = 1; return 1;
    case 'v': o->verbose++; return 1;
    case OPT_NAGIOS: o->quiet = o->nagios = 1; return 1;
    case OPT_NETRC: return set_string(&o->netrc, arg);
    case OPT_CACERT: return set_string(&o->cacert, arg);
    case OPT_PATH: return set_string(&o->path, arg);
    case OPT_PROXY: return set_string(&o->proxy, arg);
    default: return usage_error("unknown option");
    }
}

/* "server:port" as the query of the request (2.2.2): printable, with a port. */
static int check_server(const char *server)
{
    const char *port = strrchr(server, ':'), *p;
    char *end;

    for (p = server; *p; p++) {
        if (*p <= ' ' || *p > '~' || *p == '#') {
            return usage_error("the server has a character that cannot stand in a URL");
        }
    }
    if (!port || port == server || !port[1] || strtoul(port + 1, &end, 10) > 65535 || *end) {
        return usage_error("the server is to be written server:port");
    }
    return 1;
}

static char *url_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;

    return curl_url_get(url, part, &text, 0) == CURLUE_OK ? text : NULL;
}

/* Completes "https://host:8443" to the URL of the request. A path in it is the path of the
 * proxy. */
static int set_url(ping_options_t *o, const char *arg)
{
    CURLU *url = curl_url();
    char *scheme = NULL, *path = NULL, *whole = NULL;
    int ok = 0;

    if (!url || curl_url_set(url, CURLUPART_URL, arg, 0) != CURLUE_OK) {
        usage_error("the first argument is to be a URL such as https://proxy.example.com");
        goto end;
    }
    scheme = url_part(url, CURLUPART_SCHEME);
    path = url_part(url, CURLUPART_PATH);
    if (!scheme || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)) {
        usage_error("the URL is to begin with https:// or http://");
        goto end;
    }
    o->tls = strcmp(scheme, "https") == 0;
    if (!o->path) {
        set_string(&o->path, path && strcmp(path, "/") != 0 ? path : DEFAULT_PATH);
    }
    curl_url_set(url, CURLUPART_USER, NULL, 0);
    curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
    curl_url_set(url, CURLUPART_QUERY, o->server, 0);
    curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
    if (!o->path || curl_url_set(url, CURLUPART_PATH, o->path, 0) != CURLUE_OK) {
        usage_error("the path cannot stand in a URL");
        goto end;
    }
    o->host = url_part(url, CURLUPART_HOST);
    whole = url_part(url, CURLUPART_URL);
    ok = o->host && whole && set_string(&o->url, whole);
end:
    curl_free(scheme);
    curl_free(path);
    curl_free(whole);
    curl_url_cleanup(url);
    return ok;
}

/* A ticket contains the name of its user, but libcurl sends it only if a user is set. */
static int complete_ticket(ping_options_t *o)
{
    if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_SPNEGO)) {
        return usage_error("the libcurl of this machine does not support Negotiate");
    }
    return (o->user || set_string(&o->user, "")) && (o->password || set_string(&o->password, ""));
}

/* For a name without a password: takes it from the environment, or asks the person at the
 * terminal. */
static int complete_password(ping_options_t *o)
{
    const char *given = getenv("RPCPING_PASSWORD");

    if (o->auth == CURLAUTH_NEGOTIATE) {
        return complete_ticket(o);
    }
    if (!o->user || o->password) {
        return 1;
    }
    if (!given && isatty(STDIN_FILENO)) {
        given = getpass("Password: ");
    }
    if (!given) {
        return usage_error("a user without a password; see -u, -p and RPCPING_PASSWORD in --help");
    }
    return set_string(&o->password, given);
}

int ping_options_parse(ping_options_t *o, int argc, char **argv)
{
    static const struct option options[] = {
        { "user", 1, NULL, 'u' }, { "password-file", 1, NULL, 'p' }, { "netrc-file", 1, NULL, OPT_NETRC },
        { "auth", 1, NULL, 'a' }, { "cacert", 1, NULL, OPT_CACERT }, { "insecure", 0, NULL, 'k' },
        { "path", 1, NULL, OPT_PATH }, { "proxy", 1, NULL, OPT_PROXY }, { "timeout", 1, NULL, 't' },
        { "count", 1, NULL, 'c' }, { "interval", 1, NULL, 'i' }, { "quiet", 0, NULL, 'q' },
        { "nagios", 0, NULL, OPT_NAGIOS }, { "verbose", 0, NULL, 'v' }, { "help", 0, NULL, 'h' },
        { "version", 0, NULL, 'V' }, { NULL, 0, NULL, 0 }
    };
    int opt;

    *o = (ping_options_t){ .auth = CURLAUTH_BASIC, .timeout = 10, .count = 1, .interval = 1 };
    while ((opt = getopt_long(argc, argv, "u:p:a:kt:c:i:qvhV", options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(usage_text, stdout);
            exit(EXIT_SUCCESS);
        }
        if (opt == 'V') {
            puts("rpcping " RPCPROXY_VERSION " (mod_rpcproxy)");
            exit(EXIT_SUCCESS);
        }
        if (opt == '?' || !set_option(o, opt, optarg)) {
            return 0;
        }
    }
    if (argc - optind != 2) {
        return usage_error("a URL and a server:port are needed");
    }
    return check_server(argv[optind + 1]) && set_string(&o->server, argv[optind + 1])
        && set_url(o, argv[optind]) && complete_password(o);
}

void ping_options_free(ping_options_t *o)
{
    free(o->user);
    free(o->password);
    free(o->proxy);
    free(o->netrc);
    free(o->cacert);
    free(o->path);
    free(o->server);
    free(o->url);
    curl_free(o->host);
}
