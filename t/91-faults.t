# Seven faults of a running site: each is found from the status page alone, and from one line of the error
# log alone, by the id of its message.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put);
use RPCH::Httpd;
use RPCH::Needs qw(modules);
use RPCH::RPC qw(bind_pdu);
use RPCH::Root;
use RPCH::Status qw(status_conf);
use RPCH::Test;

my $native = server(host => '127.0.0.2', echo => 1);
my $gone = RPCH::Root::free_ports(1);
my ($users, $groups) = (vars('serverroot') . '/conf/users', vars('serverroot') . "/conf/groups-91-$$");
put($groups, "mail: alice\n");
END { unlink $groups if $groups }
# A label may have 63 characters, so the system refuses this name without asking a name server.
my $dead = 'd' x 64 . '.test';
my $lib = modules();

sub section {
    my ($path, $require, @more) = @_;
    return <<"CONF" . join("\n", @more) . "\n</Location>\n";
<Location /$path/rpcproxy.dll>
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthUserFile $users
AuthGroupFile $groups
Require $require
RpcRequireTLS off
RpcSetupTimeout 2
RpcValidPorts "*.contoso.test:1024-65535"
RpcBackend native.contoso.test ncacn_http:127.0.0.2[$native->{port}]
RpcBackend dead.contoso.test ncacn_http:$dead\[6001]
RpcBackend gone.contoso.test ncacn_http:127.0.0.3[$gone]
RpcAllowInterfaces 6002 epm
CONF
}
my $httpd = RPCH::Httpd->new(conf => "LoadModule authz_groupfile_module $lib/mod_authz_groupfile.so\n"
    . section('rpc', 'valid-user') . section('few', 'valid-user', 'RpcMaxChannelsPerUser 2') . section('mail', 'group mail') . status_conf())->start;
my $status = RPCH::Status->new(port => $httpd->{port});
sub to { my ($target, %more) = @_; return plain(port => $httpd->{port}, target => $target, %more) }
my %BOB = (user => 'bob', password => 'hidden');

# The page's list of failed connections and the log: REASON of USER to TARGET, because of WHY.
sub found {
    my ($name, $reason, $user, $target, $why, $line) = @_;
    my $json = $status->awaits(sub { grep { $_->{reason} eq $reason && $_->{user} eq $user && $_->{target} eq $target } @{ $_[0]{failures} } });
    my ($row) = grep { $_->{reason} eq $reason && $_->{user} eq $user } @{ $json ? $json->{failures} : [] };
    is_deeply([@{ $row // {} }{qw(address target)}], ['127.0.0.1', $target], "$name: the page says who, from where, to what");
    like($row->{why}, $why, "$name: and why");
    like($status->html =~ /id="failures".*?<\/table>/s ? $& : '', qr/\Q$user\E.*\b\Q$reason\E\b/s, "$name: so does the page in HTML");
    ok($httpd->logs($line), "$name: one line of the log says all of it") or diag $httpd->log;
    return;
}

is(to('gone.contoso.test:6001')->out_status, 503, 'a server is down');
found('a server that is down', 'connect-failed', 'alice', 'gone.contoso.test:6001', qr/127\.0\.0\.3 port $gone: .*Connection refused/,
      qr/RPC0002: RPC_OUT_DATA channel to gone\.contoso\.test:6001 of user "alice" ended: connect-failed, .*Connection refused; client 127\.0\.0\.1,/);
my ($server) = grep { $_->{port} == $gone } @{ $status->json->{servers} };
like($server->{last_error}, qr/Connection refused/, 'the list of servers shows it, too');

{
    my $c = to('native.contoso.test:6001', path => '/few/rpcproxy.dll', %BOB)->connect;
    is(to('native.contoso.test:6001', path => '/few/rpcproxy.dll', %BOB)->out_status, 503, 'a limit is full');
    found('a full limit', 'too-many-of-user', 'bob', 'native.contoso.test:6001', qr/RpcMaxChannelsPerUser/,
          qr/RPC000[12]: RPC_OUT_DATA .*too-many-of-user.*RpcMaxChannelsPerUser.*127\.0\.0\.1/);
    $c->close;
}

is(to('native.contoso.test:6001', path => '/mail/rpcproxy.dll', %BOB)->out_status, 401, 'bob is in no group');
found('a refused group', 'not-authorized', 'bob', 'native.contoso.test:6001', qr/Require/,
      qr/RPC0001: RPC_OUT_DATA refused: not-authorized: .*user "bob", client 127\.0\.0\.1, target native\.contoso\.test:6001/);
is(to('native.contoso.test:6001', password => 'wrong')->out_status, 401, 'a wrong password');
is(to('dead.contoso.test:6001')->out_status, 503, 'a dead name');
found('a wrong password', 'not-authenticated', 'alice', 'native.contoso.test:6001', qr/password/,
      qr/RPC0001: RPC_OUT_DATA refused: not-authenticated: .*user "alice", client 127\.0\.0\.1, target native\.contoso\.test:6001/);
found('a dead name', 'resolve-failed', 'alice', 'dead.contoso.test:6001', qr/\Q$dead\E port 6001/,
      qr/RPC0002: RPC_OUT_DATA channel to dead\.contoso\.test:6001 of user "alice" ended: resolve-failed, .*\Q$dead\E/);

{
    my $c = to('native.contoso.test:6002')->connect;
    $c->in->put(bind_pdu(call => 3));
    found('a refusal of the firewall', 'interface-refused', 'alice', 'native.contoso.test:6002', qr/bind to .* refused: interface-refused/,
          qr/RPC0005: channel to native\.contoso\.test:6002 of user "alice": bind to .* refused: interface-refused: .*; client 127\.0\.0\.1/);
    $c->close;
}
{
    my $half = to('native.contoso.test:6001');
    $half->open_in->put($half->b1);
    found('a half that never came', 'setup-timeout', 'alice', 'native.contoso.test:6001', qr/./,
          qr/RPC0002: RPC_IN_DATA channel to native\.contoso\.test:6001 of user "alice" ended: setup-timeout, .*client 127\.0\.0\.1/);
    $half->close;
}
done_testing;
