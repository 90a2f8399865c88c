# rpcping: at each layer a refusal or silence stops it, and each way to authenticate works. The exit
# status names the layer, and the text names the cause.

use strict;
use warnings;
use File::Spec;
use IO::Socket::IP;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::Compile qw(library preload);
use RPCH::Demo;
use RPCH::Httpd;
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::PDU qw(rts);
use RPCH::Poll qw(turn);
use RPCH::Root;
use RPCH::RPC qw(pdu bind_ack_pdu fault_pdu);
use RPCH::Test;
use RPCH::WebServer;

my $build = File::Spec->rel2abs('build');
my $root = vars('serverroot');
my $cert = "$root/conf/server.crt";
my $tls_port = RPCH::Root::free_ports(1);

# ---- the proxy, a location for each way to authenticate ----

my $httpd = RPCH::Httpd->new;
put("$httpd->{dir}/smbpasswd", smbpasswd_line(alice => 'secret'));
$httpd->configure(join '', location('basic', "AuthType Basic\nAuthUserFile $root/conf/users"),
    location('ntlm', "AuthType NTLM\nAuthNtlmUserFile $httpd->{dir}/smbpasswd"),
    location('both', "AuthType NTLM\nAuthNtlmUserFile $httpd->{dir}/smbpasswd\n"
             . "AuthNtlmBasicProvider file\nAuthUserFile $root/conf/users"),
    location('anonymous', "RpcAllowAnonymous On\nRequire all granted"), <<"CONF")->start;
Listen 127.0.0.1:$tls_port
<VirtualHost 127.0.0.1:$tls_port>
    ServerName localhost:$tls_port
    @{[ RPCH::Httpd->tls_lines ]}
</VirtualHost>
CONF

sub location {
    my ($name, $auth) = @_;
    my $require = $auth =~ /^Require/m ? '' : "Require valid-user\n";
    return "<Location /$name/rpcproxy.dll>\nSetHandler rpcproxy\nAuthName rpc\n$auth\n${require}RpcRequireTLS off\n"
           . "RpcValidPorts \"127.0.0.1:1024-65535;tcp.contoso.test:1024-65535\"\n"
           . "RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1\n</Location>\n";
}

sub put {
    my ($file, $text) = @_;
    open my $fh, '>', $file or die "$file: $!\n";
    print $fh $text;
    close $fh or die "$file: $!\n";
    chown 0, scalar getgrnam(vars('group')), $file if $> == 0;
    return chmod 0640, $file;
}

# ---- ports ----

sub listener { return IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 16) || die "cannot listen: $@\n" }

sub closed_port {
    my $fh = listener();
    my $port = $fh->sockport;
    close $fh;
    return $port;
}

# ---- rpcping: all at once, while the doubles of this process are served ----

my @pings;

# Starts an rpcping. check() tests whether it ended with STATUS and its text matches RE. KEEP is an
# object that has to live as long.
sub says {
    my ($status, $re, $name, @args) = @_;
    my @keep = grep { ref } @args;
    my $pid = open my $out, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh', "$build/rpcping", grep { !ref } @args or die "rpcping: $!\n";
    turn(0);
    return push @pings, { status => $status, re => $re, name => $name, out => $out, text => '', keep => \@keep };
}

# Reads the output that has come; true at its end.
sub ended {
    my ($ping) = @_;
    vec(my $ready = '', fileno $ping->{out}, 1) = 1;
    return 0 if !select $ready, undef, undef, 0;
    return 0 if sysread $ping->{out}, $ping->{text}, 4096, length $ping->{text};
    close $ping->{out};
    $ping->{got} = $? >> 8;
    return 1;
}

sub check {
    my @open = @pings;
    turn(0.02) while @open = grep { !ended($_) } @open;
    for my $ping (splice @pings) {
        is($ping->{got}, $ping->{status}, "$ping->{name}: exit status") or diag $ping->{text};
        like($ping->{text}, $ping->{re}, "$ping->{name}: in words");
    }
    return;
}

my $demo = RPCH::Demo->new;
my $demo_port = $demo->{port};

# Most of these wait in vain, all at the same time; those that wait for something get it sooner.
my $patience = 8;
my @quick = ('-t', $patience);
my @alice = qw(-u alice:secret);
sub by_tls { my ($name) = @_; return ('--cacert', $cert, "--path=/$name/rpcproxy.dll", "https://localhost:$tls_port") }
sub by_http { my ($name) = @_; return ("--path=/$name/rpcproxy.dll", "http://127.0.0.1:$httpd->{port}") }

# ---- each way to authenticate ----

# A library to preload for rpcping. It knows the name localhost only; with NAMES_HANG it never answers.
my $names = library("$httpd->{dir}/names", <<'C') or die "no library\n";
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    if (!real)
        real = (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))
               dlsym(RTLD_NEXT, "getaddrinfo");
    if (!strstr(name, "contoso"))
        return real(name, service, hints, found);
    while (getenv("NAMES_HANG"))
        pause();
    return EAI_NONAME;
}
C

my $demo_target = "tcp.contoso.test:$demo_port";
my $works = qr/call +ok .*inq_if_ids/;
says(0, qr/authentication +ok .*Basic, user alice.*$works/s, 'Basic', @alice, by_tls('basic'), $demo_target);
says(0, qr/authentication +ok .*NTLM, user alice.*$works/s, 'NTLM', @alice, '-a', 'ntlm', by_tls('ntlm'), $demo_target);
says(0, qr/authentication +ok .*NTLM, user alice.*$works/s, 'NTLM by plain HTTP', @alice, '-a', 'ntlm', by_http('ntlm'), $demo_target);
says(0, qr/authentication +ok .*NTLM, user alice.*$works/s, 'any, where there is NTLM', @alice, '-a', 'any', by_tls('ntlm'), $demo_target);
says(0, qr/authentication +ok .*NTLM, user alice.*$works/s, 'any, where there are both', @alice, '-a', 'any', by_tls('both'), $demo_target);
says(0, qr/authentication +ok .*Basic, user alice.*$works/s, 'any, where there is Basic', @alice, '-a', 'any', by_tls('basic'), $demo_target);
says(0, qr/authentication +ok .*none asked for.*$works/s, 'nobody', by_tls('anonymous'), $demo_target);

for my $scheme (qw(ntlm any)) {
    says(4, qr/401.*the password is wrong/, "$scheme: a wrong password", '-u', 'alice:wrong', '-a', $scheme, by_tls('ntlm'), $demo_target);
    says(6, qr/503 RPC Error: 6ba.*could not/, "$scheme: a server that is not there", @alice, '-a', $scheme, by_tls('both'), '127.0.0.1:' . closed_port());
}
says(4, qr/401.*asks for a user/, 'no user', by_tls('basic'), $demo_target);
says(4, qr/401.*not offered, NTLM is/, 'Basic where there is NTLM only', @alice, by_tls('ntlm'), $demo_target);
says(4, qr/401.*not offered, Basic is/, 'NTLM where there is Basic only', @alice, '-a', 'ntlm', by_tls('basic'), $demo_target);

check();

# ---- name, address, TLS, certificate, HTTP ----


sub web { my ($answer, %opt) = @_; return RPCH::WebServer->new(answer => $answer, %opt) }
my $server_tls = { SSL_cert_file => $cert, SSL_key_file => "$root/conf/server.key" };
my $target = '127.0.0.1:6001';

{   # no query leaves this machine
    local $ENV{LD_PRELOAD} = preload($names);
    says(2, qr/address.*FAILED.*not resolve host: proxy\.contoso\.test/s, 'a name that nobody has', 'https://proxy.contoso.test', $target);
    local $ENV{NAMES_HANG} = 1;
    says(2, qr/address.*FAILED.*proxy\.contoso\.test was not resolved in $patience s/s, 'a name server that is silent', @quick, 'https://proxy.contoso.test', $target);
}
says(2, qr/address.*FAILED/, 'nobody listens', @alice, 'https://127.0.0.1:' . closed_port(), $target);
{
    my $full = listener();
    listen $full, 0;
    my @waiting = map { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $full->sockport, Timeout => 0.2) } 1 .. 2;
    says(2, qr/address.*FAILED.*no TCP connection to 127\.0\.0\.1/s, 'nobody answers', @quick, 'https://127.0.0.1:' . $full->sockport, $target, $full, grep { $_ } @waiting);
}
my $mute = listener();      # the kernel completes connections, and nobody reads them
says(3, qr/address +ok.*TLS +FAILED.*handshake did not end in $patience s/s, 'silence at TLS', @quick, 'https://127.0.0.1:' . $mute->sockport, $target);
says(3, qr/TLS +FAILED.*really an https port/s, 'no TLS', @alice, 'https://127.0.0.1:' . $httpd->{port}, $target);
says(3, qr/TLS +FAILED.*certificate.*--cacert/s, 'a certificate that nobody trusts', @alice, '--path=/basic/rpcproxy.dll', "https://localhost:$tls_port", $target);
my $other = web(sub { }, tls => $server_tls, host => '127.0.0.9');
says(3, qr/TLS +FAILED.*(?:match|subject).*/s, 'a certificate of another name', '--cacert', $cert, "https://127.0.0.9:$other->{port}", $target, $other);
says(5, qr/echo +FAILED.*no answer to RPC_IN_DATA in $patience s/s, 'silence at HTTP', @quick, 'http://127.0.0.1:' . $mute->sockport, $target);
{
    my $silent = web(sub { }, tls => $server_tls);
    says(5, qr/TLS +ok.*echo +FAILED.*no answer to RPC_IN_DATA in $patience s/s, 'the same behind TLS', @quick, '--cacert', $cert, "https://localhost:$silent->{port}", $target, $silent);
    my $smtp = web(sub { }, greeting => "220 mail ESMTP\r\n");
    says(5, qr/echo +FAILED.*does not speak HTTP/s, 'another protocol', @quick, "http://127.0.0.1:$smtp->{port}", $target, $smtp);
}

# ---- authentication, echo ----

{
    # Type 2 of [MS-NLMP] without target information
    my $challenge = encode_base64(pack('a8 V v v V V a8 x8', 'NTLMSSP', 2, 0, 0, 48, 0x8201, 'challeng'), '');
    my $half = web(sub { my ($r) = @_; return $r->{n} > 1 ? undef : RPCH::WebServer::answer('401 Unauthorized', '', "WWW-Authenticate: NTLM $challenge") });
    says(4, qr/authentication +FAILED.*began to authenticate.*no further answer/s, 'silence at authentication', @alice, @quick, '-a', 'ntlm', "http://127.0.0.1:$half->{port}", $target, $half);
    my $forbids = web(sub { return RPCH::WebServer::answer('403 Forbidden', 'no') });
    says(4, qr/authentication +FAILED.*"HTTP\/1\.1 403 Forbidden": the user is not allowed/s, 'forbidden', @alice, "http://127.0.0.1:$forbids->{port}", $target, $forbids);
}
for my $case (['404 Not Found' => qr/no RPC proxy at this path/], ['200 OK' => qr/and 2 bytes, where an RPC proxy sends 20/]) {
    my $web = web(sub { return RPCH::WebServer::answer($case->[0], 'no') });
    says(5, qr/echo +FAILED.*$case->[1]/s, "the echo is answered $case->[0]", @alice, "http://127.0.0.1:$web->{port}", $target, $web);
}
{
    my $half = web(sub { my ($r) = @_; return $r->{method} eq 'RPC_IN_DATA' ? RPCH::WebServer::echo() : undef });
    says(5, qr/echo +FAILED.*no answer to RPC_OUT_DATA in $patience s/s, 'silence at the echo', @quick, "http://127.0.0.1:$half->{port}", $target, $half);
}

# ---- virtual connection ----

says(6, qr/virtual connection +FAILED.*6ba.*could not/s, 'a server that is not there', @alice, by_http('basic'), '127.0.0.1:' . closed_port());
says(6, qr/virtual connection +FAILED.*CONN\/A3.*does not speak ncacn_http/s, 'a server that is silent', @alice, @quick, by_http('basic'), '127.0.0.1:' . $mute->sockport);

# Something between client and proxy that waits for whole messages: an echo is whole, but the request and
# the answer of a channel never end.
sub front { my ($channel) = @_; return web(sub { my ($r) = @_; return $r->{length} == 4 ? RPCH::WebServer::echo() : $channel->($r) }) }
my $refusal = "HTTP/1.0 503 RPC Error: 6c0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
my $channel_open = "HTTP/1.1 200 Success\r\nContent-Type: application/rpc\r\nContent-Length: 1073741824\r\n\r\n" . rts('CONN/A3', timeout => 120_000);
{
    my $keeps_all = front(sub { });
    says(6, qr/virtual connection +FAILED.*echo works.*something in between buffers requests/s, 'requests and answers are kept', @quick, "http://127.0.0.1:$keeps_all->{port}", $target, $keeps_all);
    my $keeps_in = front(sub { my ($r) = @_; return $r->{method} eq 'RPC_OUT_DATA' ? $channel_open : undef });
    says(6, qr/virtual connection +FAILED.*echo works.*something in between buffers requests/s, 'requests are kept', @quick, "http://127.0.0.1:$keeps_in->{port}", $target, $keeps_in);
    my $n = 0;
    my $keeps_out = front(sub { my ($r) = @_; return $r->{method} eq 'RPC_IN_DATA' && $n++ ? $refusal : undef });
    says(6, qr/virtual connection +FAILED.*echo works.*something in between buffers answers/s, 'answers are kept', @quick, "http://127.0.0.1:$keeps_out->{port}", $target, $keeps_out);
    my $bounded = front(sub { my ($r) = @_; return $r->{method} eq 'RPC_IN_DATA' ? RPCH::WebServer::answer('413 Request Entity Too Large', '', 'Connection: close') : undef });
    says(6, qr/virtual connection +FAILED.*413.*does not allow a request of 1 GB/s, 'requests may not be long', @quick, "http://127.0.0.1:$bounded->{port}", $target, $bounded);
}

# ---- bind, call ----

# A server that answers each PDU by its type.
sub rpc_server {
    my (%answer) = @_;
    my $server = RPCH::Layers::Server->new(answer => \%answer);
    return ($server->target, $server);
}

my @to = (@alice, by_http('basic'));
says(7, qr/virtual connection +ok.*bind +FAILED.*open, but no answer/s, 'silence at the bind', @quick, @to, rpc_server());
says(7, qr/bind +FAILED.*bind_nak/s, 'the bind is refused', @to, rpc_server(11 => sub { pdu(13, $_[0]{call}, pack 'v C', 0, 0) }));
my $ack = sub { return bind_ack_pdu(call => $_[0]{call}) };
says(8, qr/bind +ok.*call +FAILED.*open, but no answer/s, 'silence at the call', @quick, @to, rpc_server(11 => $ack));
says(8, qr/call +FAILED.*fault 1c010002/s, 'the call fails', @to, rpc_server(11 => $ack, 0 => sub { fault_pdu(0x1c010002, call => $_[0]{call}) }));
check();

undef $httpd;
done_testing;

package RPCH::Layers::Server;

use parent -norequire, 'RPCH::Server';
use RPCH::RPC qw(rpc_parse);

sub handle {
    my ($self, $leg, $pdu) = @_;
    return $self->SUPER::handle($leg, $pdu) if RPCH::PDU::is_rts($pdu);
    my $p = rpc_parse($pdu);
    my $answer = $self->{answer}{ $p->{ptype} } or return;
    return $leg->{vc}->send($answer->($p));
}
