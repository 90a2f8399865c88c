# The variables of a request for a channel, in expressions of the configuration and in logs.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::HTTP;
use RPCH::Test;

my $native = server(echo => 1);
my $tcp = tcp_server();
my $users = vars('serverroot') . '/conf/users';

my $httpd = RPCH::Httpd->new(conf => <<"CONF")->start;
LogFormat "%r|%>s|%{RPC_SERVER}e|%{RPC_PORT}e|%{RPC_TARGET}e|%{RPC_BACKEND}e|%{RPC_REASON}e" vars
CustomLog vars_log vars
<Location />
    SetHandler rpcproxy
    AuthType Basic
    AuthName rpc
    AuthUserFile $users
    Require valid-user
    RpcRequireTLS off
    RpcProtocolVersions v1 v2
    RpcValidPorts *:1-65535
    RpcBackend native.contoso.test ncacn_http:127.0.0.1[$native->{port}]
    RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1[$tcp->{port}]
    RpcBackend env.contoso.test env=WHERE
</Location>
<Location /ports>
    <RequireAll>
        Require valid-user
        Require expr "reqenv('RPC_PORT') -ge 6001 && reqenv('RPC_PORT') -le 6002"
    </RequireAll>
</Location>
<Location /servers>
    AuthMerging And
    <RequireAny>
        Require expr "reqenv('RPC_SERVER') == 'native.contoso.test' && %{REMOTE_USER} == 'alice'"
        Require expr "reqenv('RPC_TARGET') == 'tcp.contoso.test:6002'"
    </RequireAny>
</Location>
<Location /where>
    SetEnvIfExpr "reqenv('RPC_TARGET') == 'env.contoso.test:6001'" "WHERE=ncacn_http:127.0.0.1[$native->{port}]"
</Location>
CONF

# The status of an OUT channel's request to TARGET below PATH.
sub out_status {
    my ($path, $target, %arg) = @_;
    my $c = plain(port => $httpd->{port}, path => "$path/rpcproxy.dll", target => $target, %arg);
    $c->open_out;
    $c->send_a1;
    my $head = $c->out->head;
    $c->close;
    return $head ? $head->{status} : 'closed';
}
sub logged_as {
    my ($line, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($httpd->logs(qr/^\Q$line\E$/m, 'vars_log'), $name) || diag $httpd->log('vars_log');
}

# ---- in logs ----

out_status('/rpc', 'Native.Contoso.TEST:6001');
logged_as("RPC_OUT_DATA /rpc/rpcproxy.dll?Native.Contoso.TEST:6001 HTTP/1.1|200|native.contoso.test|6001|native.contoso.test:6001|127.0.0.1[$native->{port}]|client-closed",
          'as asked for in lower case, and where it went');
out_status('/rpc', 'tcp.contoso.test:6001');
ok($httpd->logs(qr/^\QRPC_OUT_DATA \/rpc\/rpcproxy.dll?tcp.contoso.test:6001 HTTP\/1.1|200|tcp.contoso.test|6001|tcp.contoso.test:6001|\E127\.0\.0\.1\[\d+\]\|client-closed$/m, 'vars_log'),
   'the endpoint says where it went');
is(out_status('/rpc', '[::1]:1'), 503, 'an IPv6 address');
logged_as('RPC_OUT_DATA /rpc/rpcproxy.dll?[::1]:1 HTTP/1.1|503|::1|1|::1:1|-|connect-failed', 'has no brackets');
is(out_status('/rpc', 'nonsense'), 503, 'no target');
logged_as('RPC_OUT_DATA /rpc/rpcproxy.dll?nonsense HTTP/1.1|503|-|-|-|-|bad-target', 'has no variables');
is(out_status('/rpc', 'native.contoso.test:6001', user => undef, password => undef), 401, 'nobody');
logged_as('RPC_OUT_DATA /rpc/rpcproxy.dll?native.contoso.test:6001 HTTP/1.1|401|native.contoso.test|6001|native.contoso.test:6001|-|-', 'who knows what was asked for');
{
    my $ch = RPCH::HTTP->dial(port => $httpd->{port}, name => 'GET');
    $ch->put("GET /rpc/rpcproxy.dll?native.contoso.test:6001 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    $ch->head;
    $ch->close;
    logged_as('GET /rpc/rpcproxy.dll?native.contoso.test:6001 HTTP/1.1|401|-|-|-|-|-', 'other methods have none');
}

# ---- in expressions ----

is(out_status('/ports', 'native.contoso.test:6002'), 200, 'a port within');
is(out_status('/ports', 'native.contoso.test:6003'), 403, 'a port without');
is(out_status('/ports', 'native.contoso.test:60010'), 403, 'numbers are compared as such');
is(out_status('/ports', 'nonsense'), 403, 'no port');
is(out_status('/servers', 'NATIVE.contoso.test:6001'), 200, 'a server of alice\'s');
is(out_status('/servers', 'native.contoso.test:6001', user => 'bob', password => 'hidden'), 401, 'and nobody else\'s');
is(out_status('/servers', 'tcp.contoso.test:6002'), 200, 'a target');
is(out_status('/servers', 'tcp.contoso.test:6001'), 401, 'another port of it');
is(out_status('/where', 'env.contoso.test:6001'), 200, 'a variable that is set by one says where it is');
is(out_status('/where', 'env.contoso.test:6002'), 503, 'and for others says nothing');

done_testing;
