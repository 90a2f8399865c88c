# A KDC that is there and says nothing, or says it late: who waits for it, for how long, and what the log
# tells. The KDC is a double.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::KDC;
use RPCH::Needs qw(needs_modules program);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::TCPServer;
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(proxy proxy_http));
my $ktutil = program('ktutil') or plan(skip_all => 'not installed: krb5-user');

package SlowKDC;    # over TCP: the length, then a message of ASN.1

use parent -norequire, 'RPCH::TCPServer';

sub can_read {
    my ($self) = @_;
    while (my $fh = $self->{fh}->accept) {
        push @{ $self->{all} }, SlowKDC::Peer->new(fh => $fh, name => 'connection to the KDC', kdc => $self);
    }
    return;
}
sub asked { my ($self) = @_; return grep { length $_->{in} && !$_->{eof} } @{ $self->{all} } }

sub der { my ($tag, $content) = @_; return pack 'C C/a', $tag, $content }
# KRB-ERROR (RFC 4120, 5.9.1): the KDC knows no such client.
sub refusal {
    my $realm = der(0x1b, 'SLOW.TEST');
    my $service = der(0x30, der(0xa0, der(2, "\2")) . der(0xa1, der(0x30, der(0x1b, 'krbtgt') . $realm)));
    return der(0x7e, der(0x30, der(0xa0, der(2, "\5")) . der(0xa1, der(2, "\x1e")) . der(0xa4, der(0x18, '20260101000000Z'))
        . der(0xa5, der(2, "\0")) . der(0xa6, der(2, "\6")) . der(0xa9, $realm) . der(0xaa, $service)));
}
sub refuse { my ($self, $c) = @_; $c->{in} = ''; $c->put(pack 'N/a*', refusal()); return }

package SlowKDC::UDP;   # the same, by datagrams

use parent -norequire, 'RPCH::Peer';

sub new {
    my ($class, $port) = @_;
    my $fh = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => $port, Proto => 'udp') or die "port $port of UDP: $@\n";
    return $class->SUPER::new(fh => $fh, name => 'KDC by UDP', asked => 0);
}
sub can_read {
    my ($self) = @_;
    while (my $from = recv $self->{fh}, my $bytes, 65_536, 0) {
        $self->{asked}++;
        send $self->{fh}, SlowKDC::refusal(), 0, $from if $self->{prompt};
    }
    return;
}

package SlowKDC::Peer;

use parent -norequire, 'RPCH::Peer';

sub received { my ($self) = @_; $self->{kdc}->refuse($self) if $self->{kdc}{prompt} && length $self->{in}; return }

package main;

my $root = vars('serverroot');
my $own_so = build_dir() . '/mod_rpc_backend_auth.so';
my $kdc = SlowKDC->new;
put("$root/slow.conf", RPCH::KDC::krb5_conf('SLOW.TEST', $kdc->{port}));
open my $keys, '|-', "$ktutil >/dev/null" or die "ktutil: $!\n";
print $keys "addent -password -p HTTP/front.test\@SLOW.TEST -k 1 -e aes256-cts-hmac-sha1-96\nsecret\nwkt $root/slow.keytab\n";
close $keys or die "ktutil: $?\n";
chmod 0644, "$root/slow.keytab";

my $server = server(echo => 1);
my $behind = RPCH::WebServer->new(answer => sub { return RPCH::WebServer::answer('200 OK', 'welcome') });
my $back = RPCH::Httpd->new(conf => RPCH::Httpd->location)->start;
my $KERBEROS = "AuthType Basic\nAuthName x\nAuthUserFile $root/conf/users\nRequire valid-user\nRpcBackendAuth kerberos HTTP/cas.test\n";
my $RPC = qq(SetHandler rpcproxy\nRpcRequireTLS off\nRpcValidPorts "127.0.0.1:$server->{port}"\nRpcBackend 127.0.0.1 http://127.0.0.1:$back->{port}/rpc/rpcproxy.dll\n);
sub front {
    my ($krb5_conf) = @_;
    local $ENV{KRB5_CONFIG} = $krb5_conf;
    local $ENV{KRB5_CLIENT_KTNAME} = "$root/slow.keytab";
    return RPCH::Httpd->new(conf => join '', map({ "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http)),
        "LoadModule rpc_backend_auth_module $own_so\n",
        "<Location /app>\nProxyPass http://127.0.0.1:$behind->{port}/app\n$KERBEROS</Location>\n",
        "<Location /rpc/rpcproxy.dll>\n$RPC</Location>\n", "<Location /user/rpcproxy.dll>\n$RPC$KERBEROS</Location>\n")->start;
}
my $front = front("$root/slow.conf");
sub ask { my ($user, $password, $at) = @_; return RPCH::HTTP->dial(port => ($at // $front)->{port}, name => $user)->request('GET', '/app/', user => $user, password => $password) }
sub dials { my ($path, @who) = @_; return plain(port => $front->{port}, target => $server->target, path => "/$path/rpcproxy.dll", @who) }

# ---- nobody answers ----
my $open = dials('rpc')->connect;
my $alice = ask(alice => 'secret');
ok(eval { wait_for('a question', sub { turn(0.02); $kdc->asked }) } ? 1 : 0, 'the KDC has been asked, and says nothing');
my $channel = dials('user', user => 'bob', password => 'hidden')->open_out;
ok($open->works, 'a channel that is open goes on');
my $other = dials('rpc')->connect;
ok($other->works, 'another one is opened');
ok(scalar $kdc->asked, 'while the KDC is still silent');
is($alice->head->{status}, 504, 'the request does not wait for it for long');
ok($front->logs(qr/RpcBackendAuth kerberos: the request of user "alice" does not go to http:\S+ no KDC has answered within \d+ seconds/), 'as the log says');
is($channel->head->{status}, 504, 'nor does a channel that needs a ticket');
is(scalar @{ $behind->{peers} }, 0, 'the server behind was not asked');

# ---- an answer that is late, and answers that are not ----
$kdc->refuse($_) for $kdc->asked;
$kdc->{prompt} = 1;
my $bob = ask(bob => 'hidden');
is($bob->head->{status}, 502, 'when the KDC answers, so does this server');
ok($front->logs(qr/user "bob" does not go to .*HTTP\/front\.test\@SLOW\.TEST/), 'and says what the KDC has said');
is(scalar(() = $front->log =~ /RpcBackendAuth kerberos: the request/g), 3, 'one line for each request');

# ---- UDP: a KDC that has nothing else, and a network that lets none of it through ----
for my $case (['only by UDP', refused_port(), 1, 1], ['by TCP alone, after UDP', $kdc->{port}, 0, 32_700]) {
    my ($name, $port, $prompt, $limit) = @$case;
    my $udp = SlowKDC::UDP->new($port);
    $udp->{prompt} = $prompt;
    put("$root/udp.conf", RPCH::KDC::krb5_conf('SLOW.TEST', $port) =~ s/(udp_preference_limit =).*/$1 $limit/r);
    my $by_udp = front("$root/udp.conf");
    my $http;       # on a machine that is busy the answer may be too late for the first request, but not for all
    my $answered = eval { wait_for('the KDC', sub { $http = ask(alice => 'secret', $by_udp); turn(0.2); $http->head->{status} ne '504' }, 60) };
    is($answered && $http->{head}{status}, 502, "a KDC that answers $name");
    ok($by_udp->logs(qr/user "alice" does not go to .*HTTP\/front\.test\@SLOW\.TEST/), 'the log has what it says');
    cmp_ok($udp->{asked}, '>', 0, 'it was asked by UDP');
    $_->close for $http, $udp;
}

diag $front->log if $ENV{SHOW};
$_->close for $open, $other, $alice, $bob, $channel, $behind, $server, $kdc;
done_testing;
