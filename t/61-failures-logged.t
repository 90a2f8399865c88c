# A connection that failed explains itself at the default log level: one line at warn, with user,
# client, target, server, what was tried and why. A connection that ended normally has none.

use strict;
use warnings;
use IO::Socket::IP;
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(turn);
use RPCH::RPC qw(bind_pdu request_pdu pdu);
use RPCH::Test;
use RPCH::WarnLines;

my $users = vars('serverroot') . '/conf/users';
my $httpd = RPCH::Httpd->new(conf => "LogLevel warn rpcproxy:warn\n" . join '', 
    location('rpc'), location('hasty', "RpcSetupTimeout 1\nRpcConnectTimeout 1"),
    location('bob', 'Require user bob'), location('listed', 'Require rpc-target 127.0.0.1:1'),
    location('one', 'RpcMaxChannelsPerUser 2'),
    location('tls', 'RpcRequireTLS on'), location('networks', 'RpcTargetNetworks !loopback'),
    location('level', "RpcMinAuthLevel integrity"))->start;

sub location {
    my ($name, $more) = @_;
    $more //= '';
    my $require = $more =~ /^Require/m ? '' : 'Require valid-user';
    my $tls = $more =~ /RequireTLS/ ? '' : 'RpcRequireTLS off';
    my $auth = $more =~ /AuthType/ ? '' : "AuthType Basic\nAuthName rpc\nAuthUserFile $users";
    return <<"CONF";
<Location /$name/rpcproxy.dll>
SetHandler rpcproxy
$auth
$tls
$require
RpcValidPorts "127.0.0.1:1024-65535;tcp.contoso.test:1024-65535"
RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1
$more
</Location>
CONF
}

sub closed_port {
    my $fh = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1);
    my $port = $fh->sockport;
    close $fh;
    return $port;
}

our ($user, $password) = ('alice', 'secret');
our $named;     # the user in the log, when it is not the usual one
sub client_of {
    my ($path, $target, %arg) = @_;
    return RPCH::Client->new(port => $httpd->{port}, user => $user, password => $password, path => "/$path/rpcproxy.dll",
                             target => $target, %arg);
}

my $log = RPCH::WarnLines->new($httpd);
sub begin { return $log->begin }
sub one_line { local $log->{user} = $named // $user; local $Test::Builder::Level = $Test::Builder::Level + 1; return $log->one_line(@_) }
sub no_line { local $Test::Builder::Level = $Test::Builder::Level + 1; return $log->no_line(@_) }

# Opens both halves, and returns when the OUT channel is closed.
sub attempt {
    my ($path, $target, %arg) = @_;
    my $c = client_of($path, $target, %arg);
    $c->open_in;
    $c->open_out;
    $c->send_a1->send_b1;
    return $c;
}
sub gone { my ($c) = @_; $_->wait_eof for $c->in, $c->out; return $c->close }

# ---- the server ----

my $closed = closed_port();
begin();
gone(attempt('rpc', "127.0.0.1:$closed"));
one_line('a dead server', 'connect-failed', qr/target|channel to 127\.0\.0\.1:$closed /, qr/server 127\.0\.0\.1\[$closed\]/,
         qr/127\.0\.0\.1 port $closed: the server cannot be reached: Connection refused/, qr/(?:in|out)bound in Connecting/);
gone(attempt('rpc', "tcp.contoso.test:$closed"));
one_line('a dead server of ncacn_ip_tcp', 'connect-failed', qr/channel to tcp\.contoso\.test:$closed /, qr/server 127\.0\.0\.1\[$closed\]/,
         qr/127\.0\.0\.1 port $closed: the server cannot be reached: Connection refused/);
like(join('', grep { /503|tcp\.contoso/ } split /^/, $httpd->log('access_log')), qr/tcp\.contoso\.test:$closed.* connect-failed$/m, 'and so says RPC_REASON');
{
    my $full = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1);
    listen $full, 0;
    my @queued = map { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $full->sockport, Blocking => 0) } 1 .. 3;
    turn(0.1);
    gone(attempt('hasty', '127.0.0.1:' . $full->sockport));
    one_line('a server that does not answer', 'connect-timeout', qr/server 127\.0\.0\.1\[\d+\]/);
}
{
    my $mute = server(manual => 1);
    gone(attempt('hasty', $mute->target));
    one_line('a server that says nothing', 'setup-timeout', qr/server 127\.0\.0\.1\[$mute->{port}\]/, qr/(?:outbound in C1W|inbound in B3W): nothing came for 1 seconds/);
    $mute->leg for 1 .. 2;
    my $c = attempt('rpc', $mute->target);
    $mute->leg for 1 .. 2;
    $c->close;
    one_line('a client that has waited in vain', 'client-closed', qr/server 127\.0\.0\.1\[$mute->{port}\]/, qr/(?:outbound in C1W|inbound in B3W)/);
    $c = attempt('rpc', $mute->target);
    $mute->leg->close for 1 .. 2;
    gone($c);
    one_line('a server that hangs up', 'server-refused', qr/the server closed the leg without an answer, as one does that only speaks ncacn_ip_tcp/);
}
gone(attempt('networks', '127.0.0.1:6001'));
one_line('an address that is refused', 'address-refused', qr/127\.0\.0\.1 is refused by RpcTargetNetworks, nearest is !loopback/);

# ---- the protocol ----

{
    my $server = server();
    my $c = client_of('rpc', $server->target)->connect;
    $c->in->put('garbage, and enough of it');
    gone($c);
    one_line('bytes that are no PDU', 'bad-pdu', qr/inbound in (?:B3W|Opened): from the client/);
    $c = client_of('rpc', $server->target)->connect;
    $c->in->put(rts('CONN/B1', vc => $c->{vc}, channel => $c->{in_cookie}, lifetime => 1 << 30, keepalive => 0, group => $c->{group}));
    gone($c);
    one_line('a PDU that is not allowed', 'protocol-error', qr/inbound in (?:B3W|Opened): CONN\/B1 from the client is not allowed/);
    $c = client_of('rpc', $server->target, acks => 0)->connect;
    $server->vc for 1 .. 2;
    my $vc = $server->vc;
    $vc->{obey} = 0;
    $vc->send(request_pdu(0, 'x' x 4000)) for 1 .. 100;
    gone($c);
    one_line('a server that sends too much', 'window-overrun', qr/outbound in Opened/);
    $c = client_of('level', $server->target)->connect;
    $server->vc;
    $c->in->put(request_pdu(0, 'x'));
    gone($c);
    one_line('a request before a bind', 'protocol-error', qr/inbound in (?:B3W|Opened)/);
}
for my $case (['no PDU in time', 'hasty', 'first-pdu-timeout', sub { }], ['a first PDU of no kind', 'rpc', 'protocol-error', sub { $_[0]->out->put(rts('Ping')) }]) {
    my ($name, $path, $reason, $send) = @$case;
    my $c = client_of($path, "127.0.0.1:$closed");
    $c->open_out;
    $send->($c);
    $c->out->wait_eof;
    $c->close;
    one_line($name, $reason, qr/channel to 127\.0\.0\.1:$closed /, qr/outbound in Open_Start/);
}

# ---- refused requests ----

sub refused {
    my ($name, $path, $target, $reason, @parts) = @_;
    my $c = client_of($path, $target);
    $c->open_out;
    $c->send_a1;        # the body has to be complete where httpd itself refuses the request
    $c->out->head;
    $c->close;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return one_line($name, $reason, @parts);
}
refused('a target that is not allowed', 'rpc', 'elsewhere:6001', 'target-refused', qr/RPC_OUT_DATA refused: /, qr/target elsewhere:6001\b/, qr/nearest is/);
refused('no target', 'rpc', 'elsewhere', 'bad-target', qr/target none/);
{
    local $named = '';      # the request is refused before the client has to log in
    refused('plain HTTP', 'tls', "127.0.0.1:$closed", 'tls-required', qr/target 127\.0\.0\.1:$closed/);
}
refused('another user than Require wants', 'bob', "127.0.0.1:$closed", 'not-authorized', qr/target 127\.0\.0\.1:$closed/);
refused('another target than Require wants', 'listed', "127.0.0.1:$closed", 'not-authorized', qr/target 127\.0\.0\.1:$closed/);
like($httpd->log('access_log'), qr/ 401 .* not-authorized$/m, 'and so says RPC_REASON');
{
    my $server = server();
    local ($user, $password) = ('bob', 'hidden');   # a user who has no other channels
    my $c = client_of('one', $server->target)->connect;
    refused('one channel too many', 'one', $server->target, 'too-many-of-user', qr/RpcMaxChannelsPerUser is reached/);
    $c->close;
    no_line('and those that were there');
}

# ---- connections that ended normally ----

begin();
{
    my $server = server(echo => 1);
    my $c = client_of('rpc', $server->target)->connect;
    $c->call(bind_pdu());
    $c->close;
    $server->vc->wait_end;
    no_line('a client that closes');
    $c = client_of('rpc', $server->target)->connect;
    my $vc = $server->vc;
    $vc->close;
    gone($c);
    no_line('a server that closes');
    $c = client_of('rpc', $server->target)->connect;
    $c->replace_in;
    $c->finish_in;
    $c->call(bind_pdu());
    $c->close;
    no_line('a channel that is replaced');
    my $wrong = client_of('rpc', $server->target, password => 'wrong');
    $wrong->open_out;
    $wrong->send_a1;
    is_answer($wrong->out->head, 401, 'a wrong password');
    $wrong->close;
    no_line('which is httpd\'s to tell');
}

undef $httpd;
done_testing;
