/* rpcdemo: command line, listening sockets, and one epoll loop over all connections.
 *
 * A connection reads only while it has no reply to send. So beside its call and its reply it holds
 * no more than the input of one read (see rpcdemo.h). Events are level-triggered; a connection asks
 * for those that it waits for. SIGINT and SIGTERM are blocked except while the loop waits; they end
 * the loop.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/list.h"
#include "rpcdemo.h"

#define READ_SIZE     (128 * 1024)
#define MAX_LISTENERS 16
#define ACCEPT_BATCH  64
#define DEFAULT_FRAG  5840
#define SPARE_FDS     16
#define EXIT_USAGE    64

typedef struct demo_conn demo_conn_t;

typedef struct demo_listener {
    int fd;
    uint16_t port;
} demo_listener_t;

typedef struct demo_server {
    int epoll, verbose, ready_fd;
    demo_listener_t listener[MAX_LISTENERS];
    int listeners, accepting;
    unsigned long max_conns, conns, next_id, sleepers;
    uint16_t max_frag;
    demo_stats_t stats;
    demo_conn_t *first;
    uint8_t buffer[READ_SIZE];
} demo_server_t;

struct demo_conn {
    int fd;
    unsigned long id;
    uint32_t events;            /* asked of epoll */
    int closing;                /* once the reply is sent */
    int64_t wake;               /* a reply held back till then, ms; 0: none */
    demo_session_t session;
    dcerpc_framer_t framer;
    uint8_t *kept;              /* input that waits for the reply to be sent */
    size_t kept_len;
    demo_conn_t *next, *prev;
};

static volatile sig_atomic_t stop_requested;

static void on_signal(int sig)
{
    stop_requested = 1;
}

__attribute__((format(printf, 3, 4)))
static void conn_log(const demo_server_t *server, const demo_conn_t *c, const char *format, ...)
{
    va_list args;

    if (!server->verbose) {
        return;
    }
    fprintf(stderr, "rpcdemo: [%lu] ", c->id);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Connections */

/* New connections are accepted only while there is room for another one. */
static void server_accepting(demo_server_t *server, int on)
{
    int i;

    if (server->accepting == on) {
        return;
    }
    server->accepting = on;
    for (i = 0; i < server->listeners; i++) {
        struct epoll_event ev = { .events = on ? EPOLLIN : 0, .data.ptr = &server->listener[i] };
        epoll_ctl(server->epoll, EPOLL_CTL_MOD, server->listener[i].fd, &ev);
    }
}

static void conn_close(demo_server_t *server, demo_conn_t *c, const char *why)
{
    conn_log(server, c, "closed: %s", why);
    close(c->fd);
    if (c->wake) {
        server->sleepers--;
    }
    RPC_LIST_REMOVE(server->first, c);
    demo_session_free(&c->session);
    dcerpc_framer_reset(&c->framer);
    free(c->kept);
    free(c);
    server->conns--;
    server_accepting(server, 1);
}

static void conn_open(demo_server_t *server, const demo_listener_t *listener, int fd)
{
    struct epoll_event ev = { .events = EPOLLIN };
    demo_conn_t *c = calloc(1, sizeof(*c));
    int one = 1;

    ev.data.ptr = c;
    if (!c || epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        free(c);
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->fd = fd;
    c->id = ++server->next_id;
    c->events = EPOLLIN;
    demo_session_start(&c->session, &server->stats, listener->port, server->max_frag,
                       (uint32_t)c->id);
    RPC_LIST_PUSH(server->first, c);
    server->conns++;
    conn_log(server, c, "accepted on port %u", listener->port);
}

static void server_accept(demo_server_t *server, const demo_listener_t *listener)
{
    int i, fd;

    for (i = 0; i < ACCEPT_BATCH; i++) {
        if (server->conns >= server->max_conns) {
            server_accepting(server, 0);
            return;
        }
        fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE) {
                server_accepting(server, 0);    /* until one closes */
            }
            return;
        }
        conn_open(server, listener, fd);
    }
}

static int conn_busy(const demo_conn_t *c)
{
    return c->wake || demo_reply_pending(&c->session.reply);
}

/* Writes as much as the socket accepts. Returns 0 when the connection has failed. */
static int conn_flush(demo_conn_t *c)
{
    demo_reply_t *reply = &c->session.reply;

    while (!c->wake && demo_reply_pending(reply)) {
        demo_iov_t v;
        struct msghdr msg = { .msg_iov = v.iov };
        ssize_t n;

        demo_reply_iov(reply, &v);
        msg.msg_iovlen = (size_t)v.count;
        n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        demo_reply_sent(reply, (size_t)n);
    }
    return 1;
}

static void conn_pdu(demo_server_t *server, demo_conn_t *c, const uint8_t *pdu,
                     const dcerpc_header_t *h)
{
    conn_log(server, c, "%s call %u, flags %02x, %u bytes", dcerpc_ptype_name(h->ptype), h->call_id,
             h->flags, h->frag_length);
    if (!demo_session_pdu(&c->session, pdu, h)) {
        c->closing = 1;
    }
    if (demo_reply_pending(&c->session.reply) && c->session.delay) {
        c->wake = now_ms() + (int64_t)c->session.delay * 1000;
        server->sleepers++;
    }
}

/* Keeps input that must wait. DATA may lie inside c->kept itself. */
static int conn_keep(demo_conn_t *c, const uint8_t *data, size_t len)
{
    uint8_t *copy = NULL;

    if (len > 0) {
        copy = malloc(len);
        if (!copy) {
            return 0;
        }
        memcpy(copy, data, len);
    }
    free(c->kept);
    c->kept = copy;
    c->kept_len = len;
    return 1;
}

/* Returns 0 when the connection is to be closed at once; *WHY is then the reason. */
static int conn_input(demo_server_t *server, demo_conn_t *c, const uint8_t *data, size_t len,
                      const char **why)
{
    const uint8_t *pdu;
    dcerpc_header_t header;

    while (len > 0 && !c->closing && !conn_busy(c)) {
        switch (dcerpc_framer_next(&c->framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_ERROR:
            *why = c->framer.error;
            return 0;
        case DCERPC_FRAME_MORE:
            break;
        case DCERPC_FRAME_PDU:
            conn_pdu(server, c, pdu, &header);
            if (!conn_flush(c)) {
                *why = strerror(errno);
                return 0;
            }
            break;
        }
    }
    *why = "out of memory";
    return conn_keep(c, data, len);
}

static int conn_read(demo_server_t *server, demo_conn_t *c, const char **why)
{
    ssize_t n = recv(c->fd, server->buffer, sizeof(server->buffer), 0);

    if (n > 0) {
        return conn_input(server, c, server->buffer, (size_t)n, why);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 1;
    }
    *why = n == 0 ? "by the client" : strerror(errno);
    return 0;
}

/* The events that the connection waits for now. */
static void conn_wait(demo_server_t *server, demo_conn_t *c)
{
    struct epoll_event ev = { .data.ptr = c };

    ev.events = c->wake ? 0 : demo_reply_pending(&c->session.reply) ? EPOLLOUT : EPOLLIN;
    if (ev.events != c->events) {
        epoll_ctl(server->epoll, EPOLL_CTL_MOD, c->fd, &ev);
        c->events = ev.events;
    }
}

/* One turn of one connection: it finishes the reply, then continues with kept or new input. */
static void conn_turn(demo_server_t *server, demo_conn_t *c, uint32_t events)
{
    const char *why = "the connection broke";
    int open = !(events & EPOLLERR) && !(c->wake && (events & EPOLLHUP)) && conn_flush(c);

    if (open && !conn_busy(c) && !c->closing) {
        if (c->kept) {
            open = conn_input(server, c, c->kept, c->kept_len, &why);
        }
        else if (events & EPOLLIN) {
            open = conn_read(server, c, &why);
        }
    }
    if (open && c->closing && !conn_busy(c)) {
        why = "protocol error";
        open = 0;
    }
    if (!open) {
        conn_close(server, c, why);
        return;
    }
    conn_wait(server, c);
}

/* Sends the delayed replies that are due. Returns the milliseconds until the next one, or -1. After
 * a reply the function has to be called again, because that connection may have delayed another. */
static int server_wake(demo_server_t *server)
{
    int64_t now, next = -1;
    demo_conn_t *c, *following;

    if (server->sleepers == 0) {
        return -1;
    }
    now = now_ms();
    for (c = server->first; c; c = following) {
        following = c->next;
        if (c->wake && c->wake <= now) {
            c->wake = 0;
            server->sleepers--;
            conn_turn(server, c, 0);
            next = 0;
        }
        else if (c->wake && (next < 0 || c->wake - now < next)) {
            next = c->wake - now;
        }
    }
    return (int)next;
}

static int is_listener(const demo_server_t *server, const void *p)
{
    const demo_listener_t *l = p;
    return l >= server->listener && l < server->listener + MAX_LISTENERS;
}

static void server_run(demo_server_t *server, const sigset_t *mask)
{
    struct epoll_event ev[256];
    int i, n;

    while (!stop_requested) {
        n = epoll_pwait(server->epoll, ev, 256, server_wake(server), mask);
        for (i = 0; i < n; i++) {
            if (is_listener(server, ev[i].data.ptr)) {
                server_accept(server, ev[i].data.ptr);
            }
            else {
                conn_turn(server, ev[i].data.ptr, ev[i].events);
            }
        }
    }
}

/* Starting */

/* Splits "addr:port" or "[addr]:port" in place. */
static int split_address(char *text, char **host, char **port)
{
    char *colon = strrchr(text, ':');

    if (!colon) {
        return 0;
    }
    *colon = '\0';
    *host = text;
    *port = colon + 1;
    if (text[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        *host = text + 1;
    }
    return **host && **port;
}

static int open_listener(const struct addrinfo *ai)
{
    int one = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, 1024) < 0) {
        int err = errno;

        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

/* Prints the address that was bound, which differs from the argument for port 0. */
static void announce(demo_server_t *server, demo_listener_t *l)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockname(l->fd, (struct sockaddr *)&ss, &len) < 0
        || getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
                       NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return;
    }
    l->port = (uint16_t)atoi(port);
    dprintf(server->ready_fd, strchr(host, ':') ? "listening on [%s]:%s\n" : "listening on %s:%s\n",
            host, port);
}

static int server_listen(demo_server_t *server, const char *address)
{
    const struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL, *ai;
    demo_listener_t *l = &server->listener[server->listeners];
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = l };
    char *text = strdup(address), *host, *port;
    int err = EAI_NONAME, fd = -1;

    errno = 0;
    if (text && split_address(text, &host, &port)) {
        err = getaddrinfo(host, port, &hints, &found);
    }
    for (ai = err ? NULL : found; ai && fd < 0; ai = ai->ai_next) {
        fd = open_listener(ai);
    }
    if (fd < 0 || epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        fprintf(stderr, "rpcdemo: cannot listen on %s: %s\n", address,
                err ? gai_strerror(err) : strerror(errno));
        fd = -1;
    }
    else {
        l->fd = fd;
        server->listeners++;
        announce(server, l);
    }
    if (found) {
        freeaddrinfo(found);
    }
    free(text);
    return fd >= 0;
}

/* Each connection takes a descriptor, so the limit is raised as far as the system allows. */
static void limit_connections(demo_server_t *server)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) < 0) {
        return;
    }
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur != RLIM_INFINITY
        && server->max_conns + SPARE_FDS > rl.rlim_cur) {
        server->max_conns = rl.rlim_cur > SPARE_FDS ? rl.rlim_cur - SPARE_FDS : 1;
    }
}

static void prepare_signals(sigset_t *old)
{
    struct sigaction sa = { .sa_handler = on_signal };
    sigset_t block;

    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, old);
    sigdelset(old, SIGINT);
    sigdelset(old, SIGTERM);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

static void server_free(demo_server_t *server)
{
    int i;

    while (server->first) {
        conn_close(server, server->first, "rpcdemo stops");
    }
    for (i = 0; i < server->listeners; i++) {
        close(server->listener[i].fd);
    }
    close(server->epoll);
    free(server);
}

static const char usage_text[] =
    "usage: rpcdemo [options] address:port [address:port ...]\n"
    "\n"
    "A small DCE/RPC server over ncacn_ip_tcp with the interfaces mgmt and rpcecho.\n"
    "Prints \"listening on address:port\" for each address; port 0 picks a free one.\n"
    "SIGINT and SIGTERM end it.\n"
    "\n"
    "  -f, --max-frag N         largest fragment, 1432 to 65528 bytes (5840)\n"
    "  -n, --max-connections N  further clients wait to be accepted (20000)\n"
    "      --ready-fd N         print the addresses to this descriptor and close it\n"
    "  -v, --verbose            a line per connection and PDU on standard error\n"
    "  -h, --help\n";

static int bad_option(const char *what)
{
    fprintf(stderr, "rpcdemo: %s\n%s", what, usage_text);
    return EXIT_USAGE;
}

/* Returns -1 to continue; otherwise the exit status. */
static int parse_options(demo_server_t *server, int argc, char **argv)
{
    static const struct option options[] = {
        { "max-frag", required_argument, NULL, 'f' },
        { "max-connections", required_argument, NULL, 'n' },
        { "ready-fd", required_argument, NULL, 'r' }, { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
    };
    long value;
    int opt;

    while ((opt = getopt_long(argc, argv, "f:n:vh", options, NULL)) != -1) {
        value = optarg ? strtol(optarg, NULL, 10) : 0;
        switch (opt) {
        case 'f':
            if (value < DCE_MIN_FRAG || value > 65528) {
                return bad_option("--max-frag: a number from 1432 to 65528");
            }
            server->max_frag = (uint16_t)value;
            break;
        case 'n':
            if (value < 1 || value > 1000000) {
                return bad_option("--max-connections: a number from 1 to 1000000");
            }
            server->max_conns = (unsigned long)value;
            break;
        case 'r':
            server->ready_fd = (int)value;
            break;
        case 'v':
            server->verbose = 1;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        default:
            return EXIT_USAGE;
        }
    }
    return optind == argc || argc - optind > MAX_LISTENERS
             ? bad_option("1 to 16 addresses are needed")
             : -1;
}

int main(int argc, char **argv)
{
    demo_server_t *server = calloc(1, sizeof(*server));
    sigset_t mask;
    int status, i;

    if (!server) {
        return EXIT_FAILURE;
    }
    server->max_frag = DEFAULT_FRAG;
    server->max_conns = 20000;
    server->ready_fd = STDOUT_FILENO;
    status = parse_options(server, argc, argv);
    if (status >= 0) {
        free(server);
        return status;
    }
    limit_connections(server);
    prepare_signals(&mask);
    server->accepting = 1;
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    status = server->epoll >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    for (i = optind; i < argc && status == EXIT_SUCCESS; i++) {
        status = server_listen(server, argv[i]) ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (server->ready_fd != STDOUT_FILENO) {
        close(server->ready_fd);
    }
    if (status == EXIT_SUCCESS) {
        server_run(server, &mask);
    }
    server_free(server);
    return status;
}
