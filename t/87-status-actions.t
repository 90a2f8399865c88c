# What an administrator does on the status page: ends connections, in whichever child they are, drains a
# server; and RpcMaxSessionTime. Nobody else's page can do it.

use strict;
use warnings;
use HTTP::Tiny;
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Needs qw(modules);
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(request_pdu);
use RPCH::Status qw(status_conf);
use RPCH::Test;

my ($one, $two) = map { server(host => "127.0.0.$_", echo => 1) } 2, 3;
my $tcp = tcp_server(quiet => 1);
my ($users, $groups) = (vars('serverroot') . '/conf/users', vars('serverroot') . "/conf/groups-$$");
put($groups, "mail: alice bob\n");
END { unlink $groups if $groups }
my $lib = modules();
my %as = (path => '/rpc-status-as', more => "AuthType Basic\nAuthName s\nAuthUserFile $users\nRequire valid-user\n");
my $httpd = RPCH::Httpd->new(conf => "LoadModule authz_groupfile_module $lib/mod_authz_groupfile.so\n"
    . join('', map { <<"CONF" } ['rpc', ''], ['short', "RpcMaxSessionTime 2\n"]) . status_conf() . status_conf(%as))->start;
<Location /$_->[0]/rpcproxy.dll>
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthUserFile $users
AuthGroupFile $groups
Require group mail
RpcRequireTLS off
RpcProtocolVersions v1 v2
RpcValidPorts "*.contoso.test:1024-65535"
RpcBackend native.contoso.test ncacn_http:127.0.0.2[$one->{port}] ncacn_http:127.0.0.3[$two->{port}]
RpcBackend one.contoso.test ncacn_http:127.0.0.2[$one->{port}]
RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1[$tcp->{port}]
$_->[1]</Location>
CONF
my $status = RPCH::Status->new(port => $httpd->{port});
my %BOB = (user => 'bob', password => 'hidden');
sub to { my ($target, %more) = @_; return plain(port => $httpd->{port}, target => $target, %more) }
sub ended { my ($c) = @_; return eval { wait_for('the end', sub { turn(0.02); ($c->in->{eof} || $c->in->{closed}) && ($c->out->{eof} || $c->out->{closed}) }) } ? 1 : 0 }
sub act { my (%form) = @_; return $status->post({ token => $status->token, %form })->{status} }
sub users { return join ' ', sort map { $_->{user} } @{ $status->json->{connections} } }

# ---- servers whose draining has an end, which is awaited below ----
my ($relaying, $behind) = map { RPCH::Httpd->new } 1, 2;
my $backends = "RpcBackend ends.contoso.test ncacn_http:127.0.0.2[$one->{port}]\nRpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1[$tcp->{port}]\n"
             . "RpcBackend stays.contoso.test ncacn_http:127.0.0.3[$two->{port}]\n";
my $plain_section = "SetHandler rpcproxy\nRpcRequireTLS off\nRpcAllowAnonymous on\nRpcValidPorts *.contoso.test:6001\n";
$relaying->configure("LogFormat \"%{RPC_TARGET}e %{RPC_BACKEND}e %{RPC_CONNECTION}e %{RPC_REASON}e\" joined\nCustomLog $relaying->{dir}/joined joined\n" . join('', map { "LoadModule ${_}_module $lib/mod_$_.so\n" } qw(proxy proxy_http)) . status_conf()
    . "<Location /rpc/rpcproxy.dll>\n$plain_section${backends}RpcBackend relay.contoso.test http://127.0.0.1:$behind->{port}/rpc/rpcproxy.dll\n</Location>\n")->start;
$behind->configure("<Location /rpc/rpcproxy.dll>\n${plain_section}RpcBackend relay.contoso.test ncacn_http:127.0.0.3[$two->{port}]\n</Location>\n")->start;
my $late = RPCH::Status->new(port => $relaying->{port});
my %place = (ends => "127.0.0.2[$one->{port}]", tcp => "127.0.0.1[$tcp->{port}]", relay => "127.0.0.1[$behind->{port}]", stays => "127.0.0.3[$two->{port}]");
my $late_act = sub { my (%form) = @_; return $late->post({ token => $late->token, %form })->{status} };
my $late_to = sub { my ($name, %more) = @_; return plain(port => $relaying->{port}, user => undef, target => "$name.contoso.test:6001", %more) };
my %old = map { $_ => $late_to->($_)->connect } sort keys %place;
is($late_act->(action => 'drain', server => $place{ends}, after => $_), 400, "a time of $_ is none") for 'soon', '1y', '-1', '9999999';
is($late_act->(action => 'drain', server => $place{$_}, after => $_ eq 'stays' ? '2h' : '1s'), 303, "$_: drained") for sort keys %place;
ok($relaying->logs(qr/status page: draining, old connections end in 7200 s, of \Q$place{stays}\E, by user/), 'the notice says for how long');

# ---- who may ----
{
    my $c = to('native.contoso.test:6001')->connect;
    my $json = $status->awaits(sub { grep { $_->{state} eq 'open' } @{ $_[0]{connections} } });
    my %form = (action => 'end', connection => $json->{connections}[0]{connection});
    is($status->post(\%form)->{status}, 403, 'without a token nothing is done');
    is($status->post({ %form, token => '0' x 32 })->{status}, 403, 'nor with a wrong one');
    is($status->post({ %form, token => $status->token }, 'Sec-Fetch-Site' => 'cross-site')->{status}, 403, 'nor from another site');
    ok($httpd->logs(qr/\[rpcproxy:warn\].*status page: refused, the token is missing, wrong or too old/), 'which is logged');
    is(act(action => 'end'), 400, 'nor for everybody');
    is(act(action => 'nonsense'), 400, 'nor nonsense');
    is(users(), 'alice', 'the connection lives');

    # ---- a connection ----
    is(act(%form), 303, 'with the page\'s token it ends');
    ok(ended($c), 'both channels');
    ok($httpd->logs(qr/\[rpcproxy:notice\].*status page: end of 2 channels of connection=$form{connection} .*, by user "" at 127\.0\.0\.1/), 'a notice says who did it');
    ok($httpd->logs(qr/virtual connection ended: connection=$form{connection} .* by=administrator reason=administrator/), 'and the line of the connection');
    $c->close;
}

# ---- an administrator with a name ----
{
    my %alice = (Authorization => 'Basic YWxpY2U6c2VjcmV0');
    my $named = RPCH::Status->new(port => $httpd->{port}, path => '/rpc-status-as', http => HTTP::Tiny->new(timeout => 20, default_headers => \%alice));
    my %form = (action => 'end', user => 'nobody');
    is($named->post({ %form, token => $status->token }, %alice)->{status}, 403, "somebody else's token is none");
    is($named->post({ %form, token => $named->token }, %alice)->{status}, 303, 'his own is one');
    ok($httpd->logs(qr/:notice\].*RPC0025: status page: end of 0 channels .*, by user "alice" at 127\.0\.0\.1/), 'the notice has his name');
}

# ---- a user, an address, a server ----
sub all { my @c = map { $_->connect } to('native.contoso.test:6001'), to('tcp.contoso.test:6001', %BOB);
          $status->awaits(sub { 2 == grep { $_->{state} eq 'open' && $_->{server} } @{ $_[0]{connections} } }); return @c }
for ([user => 'bob'], [server => "127.0.0.1[$tcp->{port}]"]) {
    my ($c, $t) = all();
    is(act(action => 'end', @$_), 303, "by $_->[0]");
    ok(ended($t), 'bob\'s connection ends');
    is(users(), 'alice', 'and no other');
    $_->close for $c, $t;
    $status->awaits(sub { !@{ $_[0]{connections} } });
}
{
    my ($c, $t) = all();
    my $v1 = to('tcp.contoso.test:6001')->dial('version 1');
    $v1->put("RPC_CONNECT /rpc/rpcproxy.dll?tcp.contoso.test:6001 HTTP/1.0\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n");
    is($v1->head->{status}, 200, 'version 1');
    is(act(action => 'end', address => '127.0.0.1'), 303, 'by address');
    ok(ended($_), 'each ends') for $c, $t;
    ok(eval { wait_for('its end', sub { turn(0.02); $v1->{eof} || $v1->{closed} }) }, 'version 1, too');
    $_->close for $c, $t, $v1;
    ok($status->awaits(sub { !@{ $_[0]{connections} } }), 'nobody is left');
}

# ---- another child's ----
{
    my $c = to('native.contoso.test:6001')->connect;
    $status->awaits(sub { grep { $_->{state} eq 'open' } @{ $_[0]{connections} } });
    $httpd->signal('USR1');
    ok($httpd->logs(qr/resuming normal operations.*resuming normal operations/s), 'a graceful restart');
    is(users(), 'alice', 'the channels live on in a child that retires');
    is(act(action => 'end', user => 'alice'), 303, 'the page of another child');
    ok(ended($c), 'ends them');
    $c->close;
}

# ---- draining ----
{
    my $name = "127.0.0.2[$one->{port}]";
    my $c = to('one.contoso.test:6001')->connect;
    is(act(action => 'drain', server => $name), 303, 'a server is drained');
    my ($server) = grep { $_->{port} == $one->{port} } @{ $status->json->{servers} };
    is($server->{state}, 'draining', 'as the page says');
    ok($httpd->logs(qr/\[rpcproxy:notice\].*status page: draining of \Q$name\E, by user/), 'and a notice');
    is(to('one.contoso.test:6001')->out_status, 503, 'a new virtual connection is refused');
    ok($httpd->logs(qr/RPC_OUT_DATA channel to one\.contoso\.test:6001 of user "alice" ended: server-draining/), 'for this reason');
    my $before = $two->connections;
    my $other = to('native.contoso.test:6001')->connect;
    is($two->connections - $before, 2, 'where there is another server it is used');
    $c->call(request_pdu(1, 'still'));
    ok(!$c->in->{eof}, 'old connections live on');
    is(act(action => 'undrain', server => $name), 303, 'the server is used again');
    my $new = to('one.contoso.test:6001')->connect;
    ok($new, 'by new connections');
    is(act(action => 'drain', server => $_), 400, "$_ is no server") for 'nonsense', '127.0.0.1[80', '127.0.0.1[80]x', '127.0.0.1[80x]', '127.0.0.1[ 80]', '[80]', '127.0.0.1[65536]';
    is(act(action => 'drain', server => 'x' x 20_000), 413, 'nor is what no form of ours is as long as');
    $_->close for $c, $other, $new;
}

# The endpoint process knows of it, too.
{
    my $name = "127.0.0.1[$tcp->{port}]";
    my $c = to('tcp.contoso.test:6001')->connect;
    is(act(action => 'drain', server => $name), 303, 'a server behind the endpoint is drained');
    is(to('tcp.contoso.test:6001')->out_status, 503, 'a new virtual connection is refused');
    ok($httpd->logs(qr/RPC0002: RPC_OUT_DATA channel to tcp\.contoso\.test:6001 of user "alice" ended: server-draining/), 'for this reason');
    ok(!$c->in->{eof} && !$c->out->{eof}, 'the old one lives on');
    is(act(action => 'undrain', server => $name), 303, 'the server is used again');
    my $new = to('tcp.contoso.test:6001')->connect;
    ok($new, 'by new connections');
    $_->close for $c, $new;
}

# ---- who is ended, and not allowed any more, does not come back ----
{
    my $c = to('one.contoso.test:6001', %BOB)->connect;
    put($groups, "mail: alice\n");
    is(act(action => 'end', user => 'bob'), 303, 'a user is ended');
    ok(ended($c), 'at once');
    is(to('one.contoso.test:6001', %BOB)->out_status, 401, 'and does not come back');
    put($groups, "mail: alice bob\n");
    $c->close;
}

# ---- nor does an account that is disabled ----
{
    my $own = vars('serverroot') . "/users-$$";
    put($own, my $all = slurp($users));
    my $site = RPCH::Httpd->new(conf => status_conf() . RPCH::Httpd->location("AuthUserFile $own"))->start;
    my $echo = server(echo => 1);
    my $page = RPCH::Status->new(port => $site->{port});
    my $c = plain(port => $site->{port}, target => $echo->target, %BOB)->connect;
    put($own, $all =~ s/^bob:.*\n//mr);
    is($page->post({ token => $page->token, action => 'end', user => 'bob' })->{status}, 303, 'a user is ended whose account is disabled');
    ok(ended($c), 'at once');
    is(plain(port => $site->{port}, target => $echo->target, %BOB)->out_status, 401, 'and he does not come back');
    is(plain(port => $site->{port}, target => $echo->target)->out_status, 200, 'others are served');
    $_->close for $c, $echo;
    unlink $own;
}

# ---- sessions ----
{
    my ($c, $t) = map { to("$_.contoso.test:6001", path => '/short/rpcproxy.dll', %BOB)->connect } 'one', 'tcp';
    my $v1 = to('tcp.contoso.test:6001')->dial('version 1');
    $v1->put("RPC_CONNECT /short/rpcproxy.dll?tcp.contoso.test:6001 HTTP/1.0\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n");
    is($v1->head->{status}, 200, 'version 1');
    ok(ended($c), 'RpcMaxSessionTime ends a connection');
    ok(ended($t), 'also through the endpoint');
    ok($httpd->logs(qr/virtual connection ended: .*user="bob" .*target=tcp\.contoso\.test:6001 .*version=2 .*by=proxy reason=session-over/), 'for this reason');
    ok(eval { wait_for('its end', sub { turn(0.02); $v1->{eof} || $v1->{closed} }) }, 'and one of version 1');
    ok($httpd->logs(qr/virtual connection ended: .*user="alice" .*version=1 .*by=proxy reason=session-over/), 'for this reason, too');
    $_->close for $t, $v1;
    ok($httpd->logs(qr/virtual connection ended: .*user="bob" .*seconds=\d+\.\d+ .*by=proxy reason=session-over/), 'with its reason') || diag join "\n", grep { /ended: connection/ } split /\n/, $httpd->log;
    $c->close;
    put($groups, "mail: alice\n");
    is(to('one.contoso.test:6001', path => '/short/rpcproxy.dll', %BOB)->out_status, 401, 'who has left the group meanwhile does not come back');
}

# ---- Require is asked again for a successor ----
{
    my $c = to('one.contoso.test:6001')->connect;
    put($groups, "mail: bob\n");
    my $successor = $c->dial('successor')->request('RPC_IN_DATA', $c->uri, $c->options(length => 1 << 30));
    is($successor->head->{status}, 401, 'a successor of a user who is not allowed any more is refused');
    $_->close for $successor, $c;
}

# ---- draining that is over ----
ok(ended($old{$_}), "$_: its old connection ends when the time of draining is over") for qw(ends tcp relay);
ok($relaying->logs(qr/RPC0026: the time of draining \Q$place{$_}\E is over: its [24] channels end/), "$_: which the log says") for qw(ends tcp relay);
ok($relaying->logs(qr/^relay\.contoso\.test:6001 \Q$place{relay}\E [0-9a-f]{16} administrator$/m, 'joined'), 'a relay has RPC_BACKEND and the id in the access log');
ok($relaying->logs(qr/RPC0003: .* target=relay\.contoso\.test:6001 server=\Q$place{relay}\E /), 'and the line of its virtual connection');
ok($old{stays}->works, 'one with more time lives on');
is($late_to->($_)->out_status, 503, "$_: new ones are still refused") for sort keys %place;
is($late_act->(action => 'undrain', server => $place{$_}), 303, "$_: it is used again") for sort keys %place;
for my $name (sort keys %place) {
    my $new = $late_to->($name)->connect;
    ok($new, "$name: by new connections");
    $new->close;
}
$old{stays}->close;

done_testing;
