# TLS sessions and channels: the session cache of mod_ssl, resumption, connections that fail, what is sent ahead,
# and TLS that is not mod_ssl's.

use strict;
use warnings;
use Test::More;
use Fcntl qw(LOCK_EX);
use IO::Socket::SSL ();
use RPCH::Compile qw(library preload);
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Needs qw(missing modules);
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my $root = vars('serverroot');
my $server = server(echo => 1);
my %tls = (SSL_ca_file => "$root/conf/server.crt", SSL_hostname => 'localhost');

# A private httpd with a TLS port, one I/O thread, and these lines of the main server.
sub httpd {
    my ($conf) = @_;
    my $httpd = RPCH::Httpd->new;
    $httpd->{tls} = RPCH::Root::free_ports(1);
    return $httpd->configure("$conf\nRpcIOThreads 1\n" . RPCH::Httpd->tls_host($httpd->{tls}) . RPCH::Httpd->location)->start;
}
sub over_tls {
    my ($httpd, $version, %more) = @_;
    return client(port => $httpd->{tls}, target => $server->target, tls => { %tls, SSL_version => $version, map { $_ => $more{$_} } grep { /^SSL/ } keys %more },
                  map { $_ => $more{$_} } grep { !/^SSL/ } keys %more);
}

my $httpd = httpd("SSLSessionCache shmcb:session-cache(51200)\nSSLSessionTickets off\nMutex flock:. ssl-cache\n");

# ---- a session is resumed after its channels have ended, whichever way ----
for my $version (qw(TLSv1_2 TLSv1_3)) {
    my $cache = IO::Socket::SSL::Session_Cache->new(10);
    my @reused;
    for my $round (1 .. 3) {
        my $c = over_tls($httpd, $version, SSL_session_cache => $cache, SSL_session_key => 'one');
        ok(eval { $c->connect->works }, "$version: channels, round $round") or diag $@;
        push @reused, grep { $_->{fh}->get_session_reused } $c->in, $c->out;
        $round == 1 ? $c->close : $_->vanish for $c->in, $c->out;
    }
    cmp_ok(scalar @reused, '>=', 4, "$version: their sessions are resumed");
}

# ---- a connection that fails has its session removed from the cache, which nobody on the loop waits for ----
{
    my ($lock) = glob "$httpd->{dir}/ssl-cache*";
    ok($lock, 'the mutex of the session cache is a file') or diag qx(ls $httpd->{dir});
    my ($bad, $good) = map { over_tls($httpd, 'TLSv1_2')->connect } 1, 2;
    open my $fh, '+<', $lock or die "$lock: $!";
    flock $fh, LOCK_EX or die $!;
    syswrite $bad->in->{fh}, '';     # nothing is on its way
    my $raw = pack('C n n', 23, 0x303, 64) . 'x' x 64;
    open my $dup, '>&=', $bad->in->{fd} or die $!;
    syswrite $dup, $raw;
    ok(eval { $bad->out->wait_eof; 1 }, 'a record that is no record ends its channels') or diag $@;
    ok($good->works, 'while the mutex is held, others go on');
    flock $fh, Fcntl::LOCK_UN;
    ok($httpd->logs(qr/RPC_IN_DATA channel .* ended: client-/), 'the log has its lines when the cache answers again');
    ok($good->works, 'and then');
    $_->close for $bad, $good;
}

# ---- what a client has sent before its request is served: up to a bound ----
my $modules = modules();
SKIP: {
    skip 'no mod_perl', 4 if missing('mod_perl.so');
    my $slow = httpd(waiting());
    # Each PDU is of 5,024 bytes
    for (['TLSv1_2', 100], ['TLSv1_3', 180], ['TLSv1_3', 300]) {
        my ($version, $count) = @$_;
        unlink "$root/go-on";
        my $c = over_tls($slow, $version, obey => 0);
        $c->open_in;
        $c->send_b1;
        $c->in->put(request_pdu($_, sprintf('%04d ', $_) x 1000)) for 1 .. $count;
        wait_for('the bytes to leave', sub { turn(0.02); !length $c->in->{out} });
        $c->open_out;
        $c->send_a1;
        open my $fh, '>', "$root/go-on" or die $!;
        if ($count < 200) {
            my $right = eval { $c->opened; scalar grep { my $p = rpc_parse($c->recv // last); $p && $p->{stub} eq sprintf('%04d ', $_) x 1000 } 1 .. $count };
            is($right, $count, "$version: $count PDUs that were sent ahead") or diag $@;
        }
        else {
            ok(eval { $c->in->wait_eof; 1 }, "$version: more than a channel may have ends it") or diag $@;
            ok($slow->logs(qr/info.*the client has sent more than 1048576 bytes before its channel was opened/), 'with a line');
        }
        $c->close;
    }
}
# Requests wait for a file.
sub waiting {
    put("$root/Waiting.pm", "package Waiting;\nsub handler { select undef, undef, undef, 0.02 until -e '$root/go-on'; return -1 }\n1;\n");
    return "LoadModule perl_module $modules/mod_perl.so\nPerlSwitches -I$root\nPerlFixupHandler Waiting\n";
}

# ---- TLS of another module; and a mod_ssl with a libssl of its own ----
my $include = RPCH::Root::ask_apxs(vars('apxs'), 'INCLUDEDIR');
my $apr = qx(apr-1-config --includes --cppflags) =~ tr/\n/ /r;
SKIP: {
    my $module = library("$root/foreign", <<'C', $apr, "-I$include") or skip 'no compiler', 2;
#include <httpd.h>
#include <http_config.h>
#include <http_ssl.h>

static int always(conn_rec *c) { return OK; }
static void hooks(apr_pool_t *p) { ap_hook_ssl_conn_is_ssl(always, NULL, NULL, APR_HOOK_FIRST); }
module AP_MODULE_DECLARE_DATA foreign_module = { STANDARD20_MODULE_STUFF, .register_hooks = hooks };
C
    my $foreign = RPCH::Httpd->new(conf => "LoadModule foreign_module $module\n" . RPCH::Httpd->location)->start;
    my $c = plain(port => $foreign->{port}, target => $server->target);
    $c->open_in;
    $c->send_b1;
    is_rpc_error($c->in, '6ba', 'a channel on the TLS of another module');
    ok($foreign->logs(qr/RPC_IN_DATA refused: other-module: .*the TLS of this connection is not mod_ssl's/), 'is refused, and the log says why');
    $c->close;
}
SKIP: {
    my $copy = library("$root/copy", <<'C') or skip 'no compiler', 2;
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

/* mod_ssl has another table of methods than everybody else. */
const void *TLS_server_method(void)
{
    const void *(*real)(void) = dlsym(RTLD_NEXT, "TLS_server_method");
    const void *(*other)(void) = dlsym(RTLD_NEXT, "TLS_method");
    Dl_info who;

    return dladdr(__builtin_return_address(0), &who) && strstr(who.dli_fname, "mod_ssl") ? other() : real();
}
C
    local $ENV{LD_PRELOAD} = preload($copy);
    my $httpd = eval { httpd('') };
    ok(!$httpd, 'httpd does not start with a mod_ssl that has a libssl of its own');
    like($@, qr/mod_ssl uses a copy of libssl that mod_rpcproxy does not share/, 'and says so');
}

# ---- without mod_ssl ----
{
    my $bare = RPCH::Httpd->new(conf => RPCH::Httpd->location);
    my ($modules, $conf) = map { slurp($_) } "$root/conf/modules.conf", "$bare->{dir}/httpd.conf";
    $modules =~ s/^.*\bmod_ssl\.so.*\n//mg;
    $conf =~ s{^Include .*/modules\.conf$}{$modules}m;
    put("$bare->{dir}/httpd.conf", $conf);
    my $c = plain(port => $bare->start->{port}, target => $server->target);
    ok(eval { $c->connect->works }, 'without mod_ssl channels are served') or diag $@;
    unlike(scalar qx(cat /proc/@{[ ($bare->children)[0] ]}/maps), qr/mod_ssl/, 'and it is not there');
    $c->close;
}

$server->close;
done_testing;
