# AuthNtlmFailures where a proxy behind checks the passwords: who is stopped before it is asked, and who
# is not. Basic and NTLM; channels, echoes, and requests that mod_proxy_http serves.
#
# Each topic has a location with a window of its own, and addresses of its own, because windows of
# different lengths count separately.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::File qw(put);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(proxy proxy_http));

my $root = vars('serverroot');
my $server = server(echo => 1);

# ---- behind: a location that asks for Basic, one for NTLM; and a server that asks for nothing ----
my $smbpasswd = "$root/guesses.smbpasswd";
put($smbpasswd, smbpasswd_line(alice => 'secret'), smbpasswd_line(bob => 'hidden'));
my $ntlm = RPCH::Root::free_ports(1);
my $back = RPCH::Httpd->new(conf => RPCH::Httpd->location . <<"CONF")->start;
LogFormat "%{Authorization}i \\"%r\\" %>s" rpc
Listen 127.0.0.1:$ntlm
<VirtualHost 127.0.0.1:$ntlm>
<Location /rpc/rpcproxy.dll>
SetHandler rpcproxy
AuthType NTLM
AuthName rpc
AuthNtlmUserFile $smbpasswd
AuthNtlmPinnedConnections On
AuthNtlmNegotiate On
Require valid-user
RpcRequireTLS off
RpcValidPorts "127.0.0.1:1024-65535"
</Location>
</VirtualHost>
CONF
my $open = RPCH::WebServer->new(answer => sub { return RPCH::WebServer::answer('200 OK', 'healthy') });

# ---- in front ----
sub section {
    my ($path, $failures, $port, @more) = @_;
    return join "\n", "<Location /$path/rpcproxy.dll>", "ProxyPass http://127.0.0.1:$port/rpc/rpcproxy.dll", 'RpcRequireTLS off',
        qq(RpcValidPorts "127.0.0.1:1024-65535"), "AuthNtlmFailures $failures", @more, '</Location>', '';
}
my $conf = join '', map({ "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http)),
    section('channel', '3 600', $back->{port}), section('echo', '3 601', $back->{port}), section('address', '3 602', $back->{port}),
    section('get', '3 603', $back->{port}), section('off', 'off', $back->{port}), section('ntlm', '3 604', $ntlm),
    section('leg', '3 605', $ntlm), section('here', '3 606', $back->{port}, 'AuthType Basic', 'AuthName rpc', "AuthUserFile $root/conf/users", 'Require valid-user'),
    "<Location /get/healthcheck.htm>\nProxyPass http://127.0.0.1:$open->{port}/\nAuthNtlmFailures 3 603\n</Location>\n";
my $front = RPCH::Httpd->new(conf => $conf)->start;

sub dial { my ($from) = @_; return RPCH::HTTP->dial(port => $front->{port}, from => $from, name => "connection of $from") }
sub basic { my ($user, $password) = @_; return 'Authorization: Basic ' . encode_base64("$user:$password", '') }

# The status that a request without a channel gets.
sub small {
    my ($path, $from, $authorization, %opt) = @_;
    my $http = $opt{http} // dial($from);
    $http->request($opt{method} // 'RPC_IN_DATA', $opt{uri} // "/$path/rpcproxy.dll", length => 0, headers => [$authorization]);
    my $head = $http->head or return 'closed';
    $http->body;
    return $head->{status};
}

# The head of the answer that an OUT channel gets.
sub out_head {
    my ($path, $from, $authorization, $http) = @_;
    my $c = plain(port => $front->{port}, target => $server->target, path => "/$path/rpcproxy.dll", user => undef, raw => 1);
    my $out = $c->open_out(connection => $http // dial($from), headers => [$authorization]);
    $c->send_a1;
    my $head = $out->head || { status => 'closed', headers => {} };
    $out->close;
    return $head;
}
sub channel { return out_head(@_)->{status} }

# The same by NTLM; the last message is on the channel's own request. SCHEME: NTLM or Negotiate.
sub ntlm_head {
    my ($path, $from, $user, $password, $scheme) = @_;
    $scheme //= 'NTLM';
    my $http = dial($from);
    my $login = RPCH::NTLM->new(user => $user, password => $password);
    my $answer = $login->knock($http, "/$path/rpcproxy.dll?" . $server->target, method => 'RPC_OUT_DATA', length => 0, scheme => $scheme);
    defined $answer->{token} or return { status => "no challenge: $answer->{status}", headers => {} };
    return out_head($path, $from, "Authorization: $scheme " . encode_base64($login->authenticate, ''), $http);
}
sub ntlm_leg {
    my ($from, $user, $password) = @_;
    my $http = dial($from);
    my $login = RPCH::NTLM->new(user => $user, password => $password);
    my $status = $login->login($http, '/leg/rpcproxy.dll', method => 'RPC_IN_DATA', length => 0)->{status};
    $http->close;
    return $status;
}

sub counted {
    my ($from, $user, $account, $address, $name) = @_;
    return ok($front->logs(qr/auth_ntlm:warn\] \[pid [^\]]*\] \[client \Q$from\E:\d+\] RPC\d{4}: AuthNtlmFailures: failed try from \Q$from\E, user "\Q$user\E": wrong password or unknown user, account $account and address $address of 3 /),
              $name // "$from: failure $account of $user is counted");
}
sub blocked {
    my ($from, $user, $whose) = @_;
    return ok($front->logs(qr/AuthNtlmFailures: blocked try from \Q$from\E, user "\Q$user\E": 3 failures of the $whose, passwords are not checked for another \d+ s/),
              "$from: the log tells that $user is blocked");
}
# What the proxy behind was asked with a password.
sub asked { my ($user, $password) = @_; my $sent = encode_base64("$user:$password", ''); return scalar(() = $back->log('access_log') =~ /\Q$sent\E/g) }
# Is the account known at this address by now? What a channel shows is counted a moment later.
sub known { my ($code, $name) = @_; return ok(eval { wait_for($name, sub { turn(0.05); $code->() eq 200 }) } ? 1 : 0, $name) }

# ---- Basic, channels ----
is(channel('channel', '127.0.20.9', basic(alice => 'secret')), 200, 'a channel, at an address that is known from then on');
for my $n (1 .. 3) {
    is(channel('channel', "127.0.20.$n", basic(alice => "guess$n")), 401, "a channel, a wrong password: $n");
    counted("127.0.20.$n", 'alice', $n, 1);
}
my $refused = out_head('channel', '127.0.20.4', basic(alice => 'guess4'));
is("$refused->{status} $refused->{headers}{'www-authenticate'}", '401 Basic realm="localhost"', 'the next try is refused, and Basic is offered');
is(channel('channel', '127.0.20.5', basic(alice => 'secret')), 401, 'even with the right password');
is(small('channel', '127.0.20.5', basic(ALICE => 'secret')), 401, 'also for an echo');
blocked("127.0.20.$_", 'alice', 'account') for 4, 5;
is(asked(alice => 'guess4'), 0, 'the proxy behind was not asked');
is(asked(ALICE => 'secret'), 0, 'nor for the echo');
unlike($front->log, qr/other-module/, 'the log blames no other module for that');
known(sub { channel('channel', '127.0.20.9', basic(alice => 'secret')) }, 'the owner goes on at the address that is known');
is(channel('channel', '127.0.20.5', basic(bob => 'hidden')), 200, 'another user goes on');
is(channel('off', '127.0.20.5', basic(alice => 'secret')), 200, 'AuthNtlmFailures off: nobody is refused');

# ---- Basic, echoes on one connection ----
{
    my $http = dial('127.0.21.1');
    is(small('echo', undef, basic(bob => 'hidden'), http => $http), 200, 'an echo');
    is(small('echo', undef, basic(alice => "guess$_"), http => $http), 401, "an echo, a wrong password: $_") for 1 .. 3;
    is(small('echo', undef, basic(alice => 'secret'), http => $http), 401, 'the fourth is refused');
    counted('127.0.21.1', 'alice', 3, 3);
    blocked('127.0.21.1', 'alice', 'account');
    $http->close;
}

# ---- an address ----
for my $n (1 .. 3) {
    is(channel('address', '127.0.22.1', basic("user$n" => 'guess')), 401, "one address, user $n");
    counted('127.0.22.1', "user$n", 1, $n);
}
is(channel('address', '127.0.22.1', basic(bob => 'hidden')), 401, 'the address is blocked, for whomever');
blocked('127.0.22.1', 'bob', 'address');
is(channel('address', '127.0.22.2', basic(bob => 'hidden')), 200, 'another address goes on');

# ---- what mod_proxy_http serves ----
is(small('get', '127.0.23.9', basic(alice => 'guess'), method => 'GET', uri => '/get/healthcheck.htm'), 200, 'a page for everybody');
for my $n (1 .. 3) {
    is(small('get', "127.0.23.$n", basic(alice => "guess$n"), method => 'GET'), 401, "GET, a wrong password: $n");
    counted("127.0.23.$n", 'alice', $n, 1);
}
is(small('get', '127.0.23.9', basic(alice => 'guess'), method => 'GET'), 401, 'the next is refused');
blocked('127.0.23.9', 'alice', 'account');
is(channel('get', '127.0.23.9', basic(alice => 'secret')), 401, 'a page for everybody makes nobody known');

# ---- NTLM on the channel's own request ----
is(ntlm_head('ntlm', '127.0.24.9', 'alice', 'secret')->{status}, 200, 'NTLM: a channel');
for my $n (1 .. 3) {
    is(ntlm_head('ntlm', "127.0.24.$n", 'alice', "guess$n", $n == 2 ? 'Negotiate' : 'NTLM')->{status}, 401, "NTLM: a wrong password: $n");
    counted("127.0.24.$n", 'alice', $n, 1);
}
$refused = ntlm_head('ntlm', '127.0.24.4', 'alice', 'secret');
is("$refused->{status} $refused->{headers}{'www-authenticate'}", '401 NTLM', 'NTLM: the right password is refused, and NTLM offered');
blocked('127.0.24.4', 'alice', 'account');
known(sub { ntlm_head('ntlm', '127.0.24.9', 'alice', 'secret')->{status} }, 'NTLM: the owner goes on at the address that is known');
is(ntlm_head('ntlm', '127.0.24.4', 'bob', 'hidden')->{status}, 200, 'NTLM: another user goes on');

# ---- NTLM before the channel ----
is(ntlm_leg('127.0.25.1', 'bob', 'hidden'), 200, 'NTLM with an echo');
for my $n (1 .. 3) {
    is(ntlm_leg('127.0.25.1', 'alice', "guess$n"), 401, "NTLM with an echo: a wrong password: $n");
    counted('127.0.25.1', 'alice', $n, $n);
}
is(ntlm_leg('127.0.25.2', 'alice', 'secret'), 401, 'NTLM with an echo: the next is refused');
blocked('127.0.25.2', 'alice', 'account');

# ---- a section with AuthType counts as ever ----
is(small('here', '127.0.26.1', basic(alice => 'guess')), 401, 'AuthType Basic: a wrong password');
is(channel('here', '127.0.26.1', basic(alice => 'secret')), 200, 'AuthType Basic: the right one');
is(scalar(() = $front->log =~ /failed try from 127\.0\.26\.1/g), 1, 'AuthType Basic: each failure counts once');

diag $front->log if $ENV{SHOW};
$_->close for $server, $open;
done_testing;
