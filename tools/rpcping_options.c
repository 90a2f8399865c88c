/* rpcping_options.c: the command line. First of all it is copied, and the passwords in what the
 * process list shows are overwritten; then the copy is read. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/version.h"
#include "firewall/interfaces.h"
#include "rpcping.h"

static const char usage_text[] =
    "usage: rpcping [options] URL server:port\n"
    "       rpcping [options] --all FILE [URL]\n"
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
    "      --netrc-file FILE       name and password for each proxy, from a .netrc file\n"
    "  -a, --auth SCHEME           basic (default), ntlm, any (the better of these two that is\n"
    "                              offered), or negotiate (Kerberos, with a ticket of kinit)\n"
    "      --cacert FILE           the certificates to trust, PEM\n"
    "  -k, --insecure              accept any certificate\n"
    "      --path PATH             of the proxy (/rpc/rpcproxy.dll, or the URL's own)\n"
    "      --proxy URL             an HTTP proxy in between; those of the environment are ignored\n"
    "  -I, --interface INTERFACE   bind to it, too: a name such as emsmdb, or UUID@VERSION; again\n"
    "                              for more. mgmt may then be refused\n"
    "      --all FILE              test each line of it: URL server:port, or server:port alone\n"
    "                              where URL is an argument; \"-\": standard input\n"
    "  -t, --timeout SECONDS       for each layer and each call (10)\n"
    "  -n, --count N               calls over the one virtual connection (1)\n"
    "  -i, --interval SECONDS      between two calls (1)\n"
    "  -w, --warning RANGE         seconds that the layers may take together, as for plug-ins of\n"
    "  -c, --critical RANGE        Nagios: 2, or 0.1:2\n"
    "  -q, --quiet                 one line, for monitoring\n"
    "      --nagios                one line with performance data, and the exit status of "
    "plug-ins\n"
    "      --json                  an object a target, one a line\n"
    "  -v, --verbose               the PDUs on standard error; twice: libcurl's messages too\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "Exit status: 0 all works; else the layer that failed: 1 usage, 2 address (DNS, TCP),\n"
    "3 TLS or certificate, 4 authentication (401, 403), 5 no RPC proxy answers the echo,\n"
    "6 virtual connection (server refused or not reachable), 7 bind, 8 call; or 9 when all works\n"
    "but --warning or --critical says that it takes too long. Of several targets, the one where\n"
    "the least works. With --nagios 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (usage).\n";

int ping_usage_error(const ping_options_t *o, const char *format, ...)
{
    char text[PING_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (o->json) {
        ping_json_usage(text);
    }
    else if (o->nagios) {
        printf("RPC UNKNOWN: ");
        ping_print_line(text);
        putchar('\n');
    }
    else {
        fprintf(stderr, "rpcping: %s\nTry rpcping --help.\n", text);
    }
    return 0;
}

/* ---- options ---- */

enum { OPT_NETRC = 256, OPT_CACERT, OPT_PATH, OPT_PROXY, OPT_NAGIOS, OPT_JSON, OPT_ALL };

static const char short_options[] = ":u:p:a:kI:t:n:i:w:c:qvhV";
static const struct option long_options[] = {
    { "user", 1, NULL, 'u' }, { "password-file", 1, NULL, 'p' },
    { "netrc-file", 1, NULL, OPT_NETRC }, { "auth", 1, NULL, 'a' },
    { "cacert", 1, NULL, OPT_CACERT }, { "insecure", 0, NULL, 'k' },
    { "path", 1, NULL, OPT_PATH }, { "proxy", 1, NULL, OPT_PROXY },
    { "interface", 1, NULL, 'I' }, { "all", 1, NULL, OPT_ALL },
    { "timeout", 1, NULL, 't' }, { "count", 1, NULL, 'n' }, { "interval", 1, NULL, 'i' },
    { "warning", 1, NULL, 'w' }, { "critical", 1, NULL, 'c' },
    { "quiet", 0, NULL, 'q' }, { "nagios", 0, NULL, OPT_NAGIOS }, { "json", 0, NULL, OPT_JSON },
    { "verbose", 0, NULL, 'v' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' },
    { NULL, 0, NULL, 0 }
};

static int read_password(ping_options_t *o, const char *name)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int error;

    if (!f) {
        return ping_usage_error(o, "%s: %s", name, strerror(errno));
    }
    len = getline(&line, &cap, f);
    error = ferror(f) ? errno : 0;
    if (f != stdin) {
        fclose(f);
    }
    if (len < 0) {
        free(line);
        return error ? ping_usage_error(o, "%s: %s", name, strerror(error))
                     : ping_usage_error(o, "the password file is empty");
    }
    line[strcspn(line, "\r\n")] = '\0';
    free(o->password);
    o->password = line;
    return 1;
}

/* ARG is a copy: the original has been overwritten. */
static int set_user(ping_options_t *o, char *arg)
{
    char *colon = strchr(arg, ':');

    if (colon) {
        *colon = '\0';
        free(o->password);
        o->password = strdup(colon + 1);
    }
    o->user = arg;
    return !colon || o->password || ping_usage_error(o, "out of memory");
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
    return ping_usage_error(o, "--auth is one of basic, ntlm, any, negotiate");
}

static int set_number(const ping_options_t *o, double *at, const char *name, const char *text,
                      double min, double max)
{
    char *end;

    *at = strtod(text, &end);
    if (end == text || *end || !(*at >= min && *at <= max)) {
        return ping_usage_error(o, "--%s needs a number from %g to %g, not \"%s\"", name, min, max,
                                text);
    }
    return 1;
}

static int set_count(ping_options_t *o, const char *text)
{
    double number;

    if (!set_number(o, &number, "count", text, 1, 1e9)) {
        return 0;
    }
    o->count = (long)number;
    return 1;
}

static int set_limit(const ping_options_t *o, ping_limit_t *limit, const char *name,
                     const char *text)
{
    return ping_limit_parse(limit, text)
        || ping_usage_error(o, "--%s needs seconds, or a range of them such as 0.1:2, not \"%s\"",
                            name, text);
}

/* "emsmdb", "emsmdb@0.81", "a4f1db00-ca47-1067-b31f-00dd010662da@0.81". */
static int parse_interface(ndr_syntax_t *syntax, const char *text)
{
    size_t len = strcspn(text, "@");
    const char *version = text + len;
    const rpc_interface_info_t *info = rpc_interface_by_name(text, len);
    unsigned major = 0, minor = 0;
    int end = 0;

    if (*version && (version[1 + strspn(version + 1, "0123456789.")] != '\0'
                     || sscanf(version, "@%5u%n.%5u%n", &major, &end, &minor, &end) < 1)) {
        return 0;
    }
    if (info) {
        rpc_uuid_parse(info->uuid, RPC_UUID_TEXT, syntax->uuid.b);
        if (!text[len]) {
            major = info->major;
            minor = info->minor;
        }
    }
    else if (!text[len] || !rpc_uuid_parse(text, len, syntax->uuid.b)) {
        return 0;
    }
    syntax->major = (uint16_t)major;
    syntax->minor = (uint16_t)minor;
    return !text[len + (size_t)end] && major <= UINT16_MAX && minor <= UINT16_MAX;
}

static int add_interface(ping_options_t *o, const char *text)
{
    if (o->interfaces == PING_MAX_INTERFACES) {
        return ping_usage_error(o, "at most %d interfaces", PING_MAX_INTERFACES);
    }
    if (!parse_interface(&o->interface[o->interfaces], text)) {
        return ping_usage_error(o, "--interface needs a name such as emsmdb, or UUID@VERSION, not "
                                "\"%s\"", text);
    }
    o->interfaces++;
    return 1;
}

static int set_option(ping_options_t *o, int opt, char *arg)
{
    switch (opt) {
    case 'u': return set_user(o, arg);
    case 'p': return read_password(o, arg);
    case 'a': return set_scheme(o, arg);
    case 'k': o->insecure = 1; break;
    case 'I': return add_interface(o, arg);
    case 't': return set_number(o, &o->timeout, "timeout", arg, 0.001, 86400);
    case 'n': return set_count(o, arg);
    case 'i': return set_number(o, &o->interval, "interval", arg, 0, 86400);
    case 'w': return set_limit(o, &o->warning, "warning", arg);
    case 'c': return set_limit(o, &o->critical, "critical", arg);
    case 'q': o->quiet = 1; break;
    case 'v': o->verbose++; break;
    case OPT_NETRC: o->netrc = arg; break;
    case OPT_CACERT: o->cacert = arg; break;
    case OPT_PATH: o->path = arg; break;
    case OPT_PROXY: o->proxy = arg; break;
    case OPT_ALL: o->all = arg; break;
    default: break;     /* --nagios and --json are known before */
    }
    return 1;
}

/* ---- passwords ---- */

static void overwrite(char *from, const char *to)
{
    memset(from, 'x', (size_t)(to - from));
}

/* "https://name:password@host": libcurl takes the last @ for the end of the password. */
static void overwrite_in_url(char *arg)
{
    char *begin = strstr(arg, "://"), *end = strrchr(arg, '@');
    char *colon = strchr(begin ? begin + 3 : arg, ':');

    if (colon && end && colon < end) {
        overwrite(colon + 1, end);
    }
}

/* Overwrites passwords in the arguments, which every user of the machine can read in the process
 * list, and finds out how errors are to be told from now on. */
static void hide_passwords(ping_options_t *o, int argc, char **argv)
{
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        char *colon = opt == 'u' ? strchr(optarg, ':') : NULL;

        if (colon) {
            overwrite(colon + 1, optarg + strlen(optarg));
        }
        else if (opt == OPT_PROXY) {
            overwrite_in_url(optarg);
        }
        o->nagios |= opt == OPT_NAGIOS;
        o->json |= opt == OPT_JSON;
    }
    for (; optind < argc; optind++) {
        overwrite_in_url(argv[optind]);
    }
    optind = 0;     /* getopt_long() is to begin anew */
}

static int copy_arguments(ping_options_t *o, int argc, char **argv)
{
    int i;

    o->copies = calloc((size_t)argc + 1, sizeof(*o->copies));
    for (i = 0; o->copies && i < argc; i++) {
        o->copies[i] = strdup(argv[i]);
        if (!o->copies[i]) {
            return 0;
        }
    }
    return o->copies != NULL;
}

/* A ticket contains the name of its user, but libcurl sends it only if a user is set. */
static int complete_ticket(ping_options_t *o)
{
    if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_SPNEGO)) {
        return ping_usage_error(o, "the libcurl of this machine does not support Negotiate");
    }
    if (!o->user) {
        o->user = "";
    }
    if (!o->password) {
        o->password = strdup("");
    }
    return o->password || ping_usage_error(o, "out of memory");
}

int ping_password_complete(const ping_options_t *o, const char *user, char **password)
{
    const char *given = getenv("RPCPING_PASSWORD");

    if (!user || *password) {
        return 1;
    }
    if (!given && isatty(STDIN_FILENO)) {
        given = getpass("Password: ");
    }
    if (!given) {
        return ping_usage_error(o, "a user without a password; see -u, -p and RPCPING_PASSWORD in "
                                "--help");
    }
    *password = strdup(given);
    return *password || ping_usage_error(o, "out of memory");
}

/* ---- the whole ---- */

static void show_and_exit(const ping_options_t *o, int opt)
{
    if (opt == 'h') {
        fputs(usage_text, stdout);
    }
    else {
        puts("rpcping " RPCPROXY_VERSION " (mod_rpcproxy)");
    }
    exit(o->nagios ? PING_STATE_UNKNOWN : EXIT_SUCCESS);    /* as the plug-ins do */
}

static int bad_option(const ping_options_t *o, int opt)
{
    const char *arg = o->copies[optind - 1];    /* for an unknown letter another's, perhaps */

    if (opt == ':') {
        return ping_usage_error(o, "the option %s needs an argument", arg);
    }
    /* a known letter here is that of a long option; 0 is an unknown one, and strchr() finds it */
    if (optopt < 256 && (optopt == ':' || !strchr(short_options, optopt))) {
        return ping_usage_error(o, optopt > ' ' && optopt < 127 ? "there is no option -%c"
                                                                : "there is no option -\\x%02x",
                                optopt & 255);
    }
    /* what follows = may be a password */
    return ping_usage_error(o, "the option %.*s is unknown, ambiguous or takes no argument",
                            (int)strcspn(arg, "="), arg);
}

static int set_arguments(ping_options_t *o, int count)
{
    if (count < (o->all ? 0 : 2) || count > (o->all ? 1 : 2)) {
        return ping_usage_error(o, o->all ? "beside --all, a URL is the only argument"
                                          : "a URL and a server:port are needed");
    }
    o->url = count > 0 ? o->copies[optind] : NULL;
    o->server = count > 1 ? o->copies[optind + 1] : NULL;
    return 1;
}

int ping_options_parse(ping_options_t *o, int argc, char **argv)
{
    int opt;

    *o = (ping_options_t){ .auth = CURLAUTH_BASIC, .timeout = 10, .count = 1, .interval = 1 };
    if (!copy_arguments(o, argc, argv)) {
        return ping_usage_error(o, "out of memory");
    }
    hide_passwords(o, argc, argv);
    while ((opt = getopt_long(argc, o->copies, short_options, long_options, NULL)) != -1) {
        if (opt == 'h' || opt == 'V') {
            show_and_exit(o, opt);
        }
        if (opt == '?' || opt == ':') {
            return bad_option(o, opt);
        }
        if (!set_option(o, opt, optarg)) {
            return 0;
        }
    }
    if (!set_arguments(o, argc - optind)) {
        return 0;
    }
    return o->auth == CURLAUTH_NEGOTIATE ? complete_ticket(o)
                                         : ping_password_complete(o, o->user, &o->password);
}

void ping_options_free(ping_options_t *o)
{
    char **copy;

    for (copy = o->copies; copy && *copy; copy++) {
        free(*copy);
    }
    free(o->copies);
    free(o->password);
}
