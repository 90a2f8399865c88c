# TLS sessions and channels: the session cache of mod_ssl, resumption, connections that fail, and TLS that is not
# mod_ssl's.

use strict;
use warnings;
use Test::More;
use Fcntl qw(LOCK_EX);
use IO::Socket::SSL ();
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my $root = vars('serverroot');
my $server = server(echo => 1);
my %tls = (SSL_ca_file => "$root/conf/server.crt", SSL_hostname => 'localhost');

sub works {
    my ($c) = @_;
    my $p = eval { rpc_parse($c->call(request_pdu(1, 'works')) // return 0) };
    return $p && $p->{stub} eq 'works';
}

# A private httpd with a TLS port, one I/O thread, and these lines of the main server.
sub httpd {
    my ($conf) = @_;
    my $httpd = RPCH::Httpd->new;
    $httpd->{tls} = RPCH::Root::free_ports(1);
    return $httpd->configure(<<"CONF" . RPCH::Httpd->location)->start;
$conf
RpcIOThreads 1
Listen 127.0.0.1:$httpd->{tls}
<VirtualHost 127.0.0.1:$httpd->{tls}>
ServerName localhost
SSLEngine on
SSLCertificateFile $root/conf/server.crt
SSLCertificateKeyFile $root/conf/server.key
</VirtualHost>
CONF
}
sub over_tls {
    my ($httpd, $version, %more) = @_;
    return client(port => $httpd->{tls}, target => $server->target, tls => { %tls, SSL_version => $version, %more });
}

my $httpd = httpd("SSLSessionCache shmcb:session-cache(51200)\nSSLSessionTickets off\nMutex flock:. ssl-cache\n");

# ---- a session is resumed after its channels have ended, whichever way ----
for my $version (qw(TLSv1_2 TLSv1_3)) {
    my $cache = IO::Socket::SSL::Session_Cache->new(10);
    my @reused;
    for my $round (1 .. 3) {
        my $c = over_tls($httpd, $version, SSL_session_cache => $cache, SSL_session_key => 'one');
        ok(eval { $c->connect; works($c) }, "$version: channels, round $round") or diag $@;
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
    ok(works($good), 'while the mutex is held, others go on');
    flock $fh, Fcntl::LOCK_UN;
    ok($httpd->logs(qr/RPC_IN_DATA channel .* ended: client-/), 'the log has its lines when the cache answers again');
    ok(works($good), 'and then');
    $_->close for $bad, $good;
}

$server->close;
done_testing;
