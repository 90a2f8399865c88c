# rpcping through this module in front of an RPC proxy that is already there: it says which of the
# two has answered.

use strict;
use warnings;
use File::Spec;
use Test::More;
use RPCH::Demo;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::Root;
use RPCH::Test;

my $modules = needs_modules(qw(proxy proxy_http proxy_balancer slotmem_shm));

my $build = File::Spec->rel2abs('build');
my $demo = RPCH::Demo->new;
my $port = $demo->{port};
my ($closed, $dead) = map { RPCH::Root::free_ports(1) } 1 .. 2;

# The one behind allows less than the one in front, and one server that the other does not.
my $back = RPCH::Httpd->new(conf => <<"CONF")->start;
<Location /rpc/rpcproxy.dll>
    SetHandler rpcproxy
    AuthType Basic
    AuthName rpc
    AuthUserFile @{[ vars('serverroot') ]}/conf/users
    Require valid-user
    RpcRequireTLS off
    RpcBackend dc ncacn_ip_tcp:127.0.0.1
    RpcValidPorts "dc:1024-65535"
</Location>
CONF
my $front = RPCH::Httpd->new(conf => join('', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http proxy_balancer slotmem_shm)) . <<"CONF")->start;
ProxyVia On
<Location /rpc/rpcproxy.dll>
    SetHandler rpcproxy
    RpcRequireTLS off
    RpcValidPorts "dc:1024-65535;other:1024-65535;gone:6001"
    RpcBackend dc http://127.0.0.1:$back->{port}
    RpcBackend other http://127.0.0.1:$back->{port}
    RpcBackend gone http://127.0.0.1:$dead
</Location>
CONF

sub says {
    my ($status, $re, $name, @args) = @_;
    my $text = qx($build/rpcping @args 2>&1);
    is($? >> 8, $status, "$name: exit status") or diag $text;
    like($text, $re, $name);
    return $text;
}
my $at = "http://127.0.0.1:$front->{port}";
my $behind = qr/by way of 1\.[01] \S+.* \(Via\)/;
says(0, qr/echo +ok .*$behind.*call +ok/s, 'all works, and the echo shows that there are two', '-u alice:secret', $at, "dc:$port");
says(0, qr/echo +ok (?!.*Via).*call +ok/s, 'the one behind, directly', '-u alice:secret', "http://127.0.0.1:$back->{port}", "dc:$port");
says(4, qr/authentication +FAILED.*password is wrong; the answer came $behind, so from behind it/s, 'the one behind refuses the user', '-u alice:wrong', $at, "dc:$port");
says(6, qr/virtual connection +FAILED.*6ba.*tried to connect.*form of mod_rpcproxy; the answer came $behind/s, 'the one behind does not reach the server', '-u alice:secret', $at, "dc:$closed");
says(6, qr/virtual connection +FAILED.*6ba.*the answer came $behind/s, 'the one behind does not allow the server', '-u alice:secret', $at, "other:$port");
my $text = says(6, qr/virtual connection +FAILED.*RPC_IN_DATA.*6ba.*form of mod_rpcproxy/s, 'the one in front does not allow it', '-u alice:secret', $at, "dc:99");
unlike($text, qr/Via/, 'and says so by itself');
$text = says(6, qr/virtual connection +FAILED.*6ba.*could not/s, 'the one in front does not reach the one behind', '-u alice:secret', $at, 'gone:6001');
unlike($text, qr/Via/, 'and says so by itself');

done_testing;
