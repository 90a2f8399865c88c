package RPCH::Relay;

# A relay that takes plain TCP and speaks TLS to a server, for things that Perl's TLS cannot do. It changes
# its keys before each piece that it sends (KeyUpdate, and asks the server to do the same), and it can
# send a line before the handshake. It passes on each piece that it reads in one record. One that floods
# reads no more when its client has sent all, and changes its keys until the server closes the connection.

use strict;
use warnings;
use RPCH::Compile qw(compile);
use RPCH::Test qw(vars);

my $SOURCE = <<'C';
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/ssl.h>

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sa;
}

static void flood(SSL *ssl)
{
    while (SSL_version(ssl) == TLS1_3_VERSION && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1
           && SSL_do_handshake(ssl) == 1)
        ;
    exit(0);
}

static int to_server(SSL *ssl, int client, int floods)
{
    char buf[4096];
    ssize_t n = read(client, buf, sizeof(buf));

    if (n <= 0 && floods)
        flood(ssl);
    if (n <= 0)
        return 0;
    if (SSL_version(ssl) == TLS1_3_VERSION)
        SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
    return SSL_write(ssl, buf, (int)n) == n;
}

static int to_client(SSL *ssl, int client)
{
    char buf[16384];
    int n = SSL_read(ssl, buf, sizeof(buf));

    if (n <= 0)     /* a ticket, or an answer to a KeyUpdate */
        return SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ;
    return write(client, buf, (size_t)n) == n;
}

static void relay(SSL_CTX *ctx, int client, int port, const char *line, int floods)
{
    struct sockaddr_in sa = loopback(port);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(ctx);

    if (connect(server, (struct sockaddr *)&sa, sizeof(sa)) < 0
        || (*line && write(server, line, strlen(line)) < 0))
        exit(1);
    SSL_set_fd(ssl, server);
    if (SSL_connect(ssl) != 1)
        exit(1);
    for (;;) {
        struct pollfd fds[] = { { client, POLLIN, 0 }, { server, POLLIN, 0 } };

        if (!SSL_pending(ssl) && poll(fds, 2, -1) < 0)
            exit(1);
        if (((fds[1].revents || SSL_pending(ssl)) && !to_client(ssl, client))
            || (fds[0].revents && !to_server(ssl, client, floods)))
            exit(0);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in sa = loopback(0);
    socklen_t size = sizeof(sa);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    bind(listener, (struct sockaddr *)&sa, sizeof(sa));
    listen(listener, 20);
    getsockname(listener, (struct sockaddr *)&sa, &size);
    printf("%d\n", ntohs(sa.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);

        if (client >= 0 && fork() == 0) {
            close(listener);
            relay(ctx, client, atoi(argv[1]), argc > 2 ? argv[2] : "", argc > 3);
        }
        close(client);
    }
}
C

# Starts a relay to the server at PORT, which first sends LINE, and FLOODS or not. Returns nothing when the relay
# cannot be built.
sub new {
    my ($class, $port, $line, $floods) = @_;
    my $file = vars('serverroot') . "/relay-$$";
    -e $file || compile($file, $SOURCE, '-lssl -lcrypto') or return;
    my $pid = open my $out, '-|', $file, $port, $line // '', $floods ? 'floods' : () or die "$file: $!\n";
    chomp(my $own = <$out>);
    return bless { port => $own, pid => $pid, out => $out, owner => $$ }, $class;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $!);
    kill TERM => $self->{pid};
    close $self->{out};
    return;
}

1;
