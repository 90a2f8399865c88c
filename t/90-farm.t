# RpcSharedStore: machines behind a balancer act as one: limits, claims on cookies, guessing, servers that
# are down, the status page; a store that is away ends nothing.

use strict;
use warnings;
use IO::Select;
use Test::More;
use RPCH::File qw(put);
use RPCH::Front;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(missing modules);
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::RPC qw(request_pdu);
use RPCH::Redis;
use RPCH::Root;
use RPCH::Settle qw(is_endpoint);
use RPCH::Status qw(status_conf);
use RPCH::Test;

my ($redis, $second) = map { RPCH::Redis->new } 1, 2;
my $native = server(echo => 1, keeps => 1);
my $secret = vars('serverroot') . "/farm-$$";
put($secret, 'a secret that all machines of the farm know');
chmod 0600, $secret;

sub location { my ($path, $more) = @_; return RPCH::Httpd->location($more) =~ s{^<Location \S+>}{<Location /$path>}mr }
my $farm = 'RpcSharedStore ' . $redis->url . ",127.0.0.1:$second->{port}\nRpcSharedStoreSecret $secret\n";
my $conf = $farm . status_conf() . location('rpc') . location('user', 'RpcMaxChannelsPerUser 2')
         . location('address', 'RpcMaxChannelsPerAddress 2') . location('guess', 'AuthNtlmFailures 3 600');
my $gone = RPCH::Root::free_ports(1);
$conf .= location('two', "RpcValidPorts two.contoso.test:6001\nRpcBackend two.contoso.test ncacn_http:127.0.0.1[$gone] ncacn_http:127.0.0.1[$native->{port}]");
my $lib = modules();
my $balancer_address = '127.0.91.1';
$conf = "LoadModule remoteip_module $lib/mod_remoteip.so\nRemoteIPProxyProtocol On\nRemoteIPProxyProtocolExceptions 127.0.0.0/24 127.0.90.0/24\n"
      . "RpcMaxUnpairedPerUser 6\n$conf";
my @machines = map { RPCH::Httpd->new(conf => $_) } "RpcHealthCheck connect interval=1\n$conf", $conf, $conf;
$_->start for @machines;

sub at { my ($machine, $path, %more) = @_; return plain(port => $machines[$machine]{port}, path => "/$path/rpcproxy.dll", target => $native->target, %more) }
my %BOB = (user => 'bob', password => 'hidden');

# The answer to an OUT channel, such as "RPC Error: 6bb", or "taken": it waits for its server. Tries again,
# for as long as a test may take, until it is WANTED.
sub answer {
    my ($c, $pdu) = @_;
    $c->open_out(length => 120);
    $c->out->put($pdu // $c->a1);
    my $head = $c->out->head;
    my $answer = $head ? $head->{status} == 200 ? 'taken' : $head->{reason} =~ s/,.*//r : 'nothing';
    $c->out->close;
    return $answer;
}
sub comes { my ($what, $check) = @_; return eval { wait_for($what, sub { turn(0.05); $check->() }) } ? 1 : 0 }

# Waits until MACHINE has heard of all others, that they have so many channels, and that all of these are opened.
sub heard {
    my ($machine, $n) = @_;
    return RPCH::Status->new(port => $machines[$machine]{port})->awaits(sub {
        my %sum;
        my @others = grep { !$_->{this} } @{ $_[0]{farm}{machines} };
        return 0 if @others != $#machines;
        for my $other (@others) { $sum{$_} += $other->{$_} for qw(channels unpaired) }
        return $sum{channels} == $n && $sum{unpaired} == 0;
    });
}

ok($_->logs(qr/RpcSharedStore: 127\.0\.0\.1:\d+ is there/), 'a machine finds the store') for @machines;

# ---- a user's limit, and an address's ----
for my $case (['user', 'too-many-of-user', [], { from => '127.0.90.1' }], ['address', 'too-many-of-address', [%BOB, from => '127.0.90.2'], { from => '127.0.90.2' }]) {
    my ($path, $reason, $who, $newcomer) = @$case;
    my $c = at(0, $path, @$who)->connect;
    ok(comes('a refusal', sub { answer(at(1, $path, %$newcomer)) eq 'RPC Error: 6bb' }), "$path: full at one machine, refused at the other");
    ok($machines[1]->logs(qr/$reason/), "$path: as $reason");
    ok(comes('a refusal', sub { answer(at(2, $path, %$newcomer)) eq 'RPC Error: 6bb' }), "$path: and at a third one");
    is(answer(at(1, $path, user => 'RPCSRV\\alice', password => 'secret', from => '127.0.90.3')), 'taken', "$path: another one is served");
    if ($path eq 'user') {
        # A successor comes to the machine where its predecessor is not
        heard(1, 2);
        ok(eval { $c->replace_in(dial => { port => $machines[1]{port} }); $c->finish_in; $c->call(request_pdu(1, 'on')); 1 }, "$path: a successor is served beyond the limit") or diag $@;
        my $thief = at(1, $path, from => '127.0.90.1');
        is(answer($thief, rts('OUT_R1/A3', vc => $thief->{vc}, old => $c->{out_cookie}, new => RPCH::Client::cookie(), window => 65536)), 'RPC Error: 6bb', "$path: a successor of nothing is not");
    }
    $c->close;
    ok(comes('room', sub { answer(at(1, $path, %$newcomer)) eq 'taken' }), "$path: room again");
}

# ---- a cookie belongs to its user ----
{
    heard($_, 0) for 0, 1;
    my $c = at(0, 'rpc')->connect;
    heard(1, 2);
    is(answer(at(1, 'rpc', %BOB, vc => $c->{vc})), 'RPC Error: 5', 'a stolen cookie is known at the other machine');
    ok($machines[1]->logs(qr/user "bob" ended: peer-mismatch/), 'as peer-mismatch');
    ok($c->works, 'its owner goes on');
    $c->replace_in(dial => { port => $machines[1]{port} });
    $c->finish_in;
    my ($id) = ($machines[0]->log =~ /channel of virtual connection ([0-9a-f]{16})/g)[-1];
    ok($machines[1]->logs(qr/IN_DATA channel, a successor, of virtual connection $id/), 'a virtual connection has one name at all machines');
    $c->close;
}

# ---- a guesser ----
{
    my $n = 0;
    my $try = sub { my ($machine, $from, $password) = @_; my $c = at($machine, 'guess', %BOB, from => "127.0.90.$from", password => $password); my $status = $c->out_status; $c->close; return $status };
    is($try->(0, 20, 'hidden'), 200, 'its owner logs on');
    is(join(' ', map { $try->($_, 21, 'guess') } 0, 0, 0), '401 401 401', 'three wrong passwords');
    # Each time from another address, since a success would make it known
    ok(comes('a block', sub { $try->(1, 30 + $n++ % 200, 'hidden') == 401 }), 'block the account at the other machine, too');
    ok($machines[1]->logs(qr/blocked try from 127\.0\.90\.\d+, user "bob": 3 failures of the account, passwords are not checked for another (?:5\d\d|600) s/), 'for the same time');
    # The tries that were let through may still count as channels
    ok(comes('room', sub { $try->(1, 20, 'hidden') == 200 }), 'but not for its owner, who is known by all machines');
    is(at(1, 'guess', from => '127.0.90.21')->out_status, 401, 'and not the address of the guesser');
    ok($machines[1]->logs(qr/blocked try from 127\.0\.90\.21, user "alice": 3 failures of the address/), 'for whatever account');
    is(at(1, 'guess', from => '127.0.90.23')->out_status, 200, 'others are served');
}

# ---- a server that is down: one machine probes it, the other has never asked for it ----
{
    my $status = RPCH::Status->new(port => $machines[1]{port});
    my $state = sub { my ($state) = @_; return $status->awaits(sub { my ($s) = grep { $_->{port} == $gone } @{ $_[0]{servers} }; $s && $s->{state} eq $state && $s->{failures} == 0 }) };
    ok($state->('avoided'), 'a server that one machine finds down is avoided at the other');
    ok($machines[1]->logs(qr/RpcSharedStore: 127\.0\.0\.1 port $gone is avoided, since another machine could not reach it/), 'which says so');
    my $c = at(1, 'two', target => 'two.contoso.test:6001')->connect;
    ok($c->works && $state->('avoided'), 'and uses another one, without a try');
    $c->close;
    my $back = server(port => $gone);
    ok($state->('up'), 'until it is back');
    $back->close;
}

# ---- channels that wait for their server ----
{
    heard($_, 0) for 0 .. 2;
    my @waiting = map { at($_ % 2, 'rpc', %BOB) } 0 .. 5;
    for my $c (@waiting) { $c->open_out; $c->send_a1 }
    ok(comes('a refusal', sub { answer(at(2, 'rpc', %BOB)) eq 'RPC Error: 6bb' }), 'what waits at two machines fills the limit at a third');
    ok($machines[2]->logs(qr/too-many-unpaired-of-user/), 'as too-many-unpaired-of-user');
    is(answer(at(2, 'rpc')), 'taken', 'of this user alone');
    $_->close for @waiting;
}

# ---- HAProxy, round robin: whichever machine a connection comes to ----
SKIP: {
    skip 'haproxy is not installed', 1 if missing('haproxy');
    heard($_, 0) for 0 .. 2;
    my $front = RPCH::Front->balancer($balancer_address, map { $_->{port} } @machines);
    my $by = sub { my ($path, %more) = @_; return plain(port => $front->{port}{all}, path => "/$path/rpcproxy.dll", target => $native->target, from => '127.0.92.1', %more) };
    my @status = map { RPCH::Status->new(port => $_->{port}) } @machines;
    # All machines know that the farm has N channels, which are opened
    my $know = sub { my ($n) = @_; $_->awaits(sub { my ($all, $unpaired) = (0, 0);
                         for my $m (@{ $_[0]{farm}{machines} }) { $all += $m->{channels}; $unpaired += $m->{unpaired} }
                         return @{ $_[0]{farm}{machines} } == 3 && $all == $n && $unpaired == 0 }) or return 0 for @status; return 1 };
    # Three in a row come to three machines
    my $thrice = sub { my ($what) = @_; return join ', ', map { $what->() } 0 .. 2 };
    my $c = $by->('user')->connect;
    ok($know->(2), 'all machines know of two channels');
    is($thrice->(sub { answer($by->('user')) }), 'RPC Error: 6bb, RPC Error: 6bb, RPC Error: 6bb', 'a user is beyond the limit at each machine');
    is($thrice->(sub { answer($by->('rpc', %BOB, vc => $c->{vc})) }), 'RPC Error: 5, RPC Error: 5, RPC Error: 5', 'a stolen cookie is of no use at any');
    ok($c->works, 'and its owner goes on');
    $c->close;
    ok($know->(0), 'and ends');

    my $last = 2;
    my $tries = sub { my ($password, $from) = @_; my $http = RPCH::HTTP->dial(port => $front->{port}{all}, from => $from // '127.0.92.' . ++$last, name => 'a try');
                      $http->request(GET => '/guess/rpcproxy.dll', user => 'alice', password => $password); my $status = $http->head->{status}; $http->close; return $status };
    is($thrice->(sub { $tries->('guess', '127.0.92.2') }), '401, 401, 401', 'a guesser comes to three machines');
    ok(comes('blocks', sub { $thrice->(sub { $tries->('secret') }) eq '401, 401, 401' }), 'and has blocked the account at each');

    my $is = sub { my ($port, $state) = @_; return 3 == grep { my $s = $_; $s->awaits(sub { grep { $_->{port} == $port && $_->{state} eq $state } @{ $_[0]{servers} } }) } @status };
    $status[$_]->awaits(sub { grep { $_->{port} == $gone && $_->{state} ne 'up' } @{ $_[0]{servers} } }) for 0 .. 2;
    my $two = $by->('two', target => 'two.contoso.test:6001')->connect;
    ok($two->works, 'a server that is down costs nobody anything');
    $two->close;
    # ---- draining ----
    my $place = "127.0.0.1[$native->{port}]";
    is($status[0]->post({ token => $status[0]->token, action => 'drain', server => $place })->{status}, 303, 'a server is drained at one machine');
    ok($is->($native->{port}, 'draining'), 'and so at all');
    ok($machines[2]->logs(qr/:notice\].*RPC0154: RpcSharedStore: 127\.0\.0\.1\[$native->{port}\] is drained, as was said at another machine/), 'which the log says');
    is($thrice->(sub { $by->('rpc')->out_status }), '503, 503, 503', 'none takes a new virtual connection');
    is($status[1]->post({ token => $status[1]->token, action => 'undrain', server => $place })->{status}, 303, 'another machine ends that');
    ok($is->($native->{port}, 'up'), 'for all');
    my $new = $by->('rpc')->connect;
    ok($new->works, 'and it is used again');
    $new->close;
}

# ---- the status page, of a machine and of the farm ----
{
    heard($_, 0) for 0 .. 2;
    my $c = at(0, 'rpc')->connect;
    heard(1, 2);
    my $status = RPCH::Status->new(port => $machines[1]{port});
    my $farm = $status->json->{farm};
    is($farm->{machines}[0]{channels}, 0, 'JSON: this machine is the first');
    is_deeply([sort map { $_->{channels} } @{ $farm->{machines} }], [0, 0, 2], 'JSON: the channels of each machine');
    is_deeply([map { @$_{qw(name state)} } @{ $farm->{stores} }], [map { ("127.0.0.1:$_->{port}", 'up') } $redis, $second], 'and the stores');
    cmp_ok(2 * $farm->{exchange_pause}, '<=', 1, 'what one machine tells and another hears takes no more than a second');
    ok($status->awaits(sub { $_[0]{farm}{exchanges} > $farm->{exchanges} }), 'again and again');
    is($status->json('&scope=farm')->{scope}, 'farm', 'the farm alone');
    my $html = $status->html('?scope=farm');
    like($html, qr/<h2 id="farm">.*is <span class="good">up<.*data-label="Machine"><span>all<.*data-label="Channels"><span>2</s, 'HTML: the farm, with its sum');
    unlike($html, qr/id="connections"/, 'alone');
    like($status->html, qr/<a href="\?scope=farm">Farm</, 'to which the page leads');
    my %all = $status->samples('openmetrics&scope=farm');
    is_deeply([sort map { $all{qq(rpcproxy_farm_channels{machine="$_->{number}"})} } @{ $farm->{machines} }], [0, 0, 2], 'OpenMetrics: a machine');
    is($all{qq(rpcproxy_store_up{store="127.0.0.1:$redis->{port}"})}, 1, 'the store');
    is({ $status->samples }->{qq(rpcproxy_store_up{store="127.0.0.1:$redis->{port}"})}, 1, 'also without the farm');
    cmp_ok($all{rpcproxy_store_exchanges_total}, '>', 0, 'and how often it was asked');
    SKIP: {
        skip 'promtool (Debian: prometheus) is not installed', 1 if missing('prometheus');
        open my $promtool, '|-', 'promtool check metrics >/dev/null 2>&1' or die "promtool: $!\n";
        print {$promtool} $status->get('?format=prometheus&scope=farm')->{content};
        ok(close($promtool), 'promtool finds no fault');
    }
    $c->close;
}

# ---- what stands in the store ----
{
    my $c = at(0, 'rpc')->connect;
    my ($vc, $contents) = ($c->{vc}, '');
    ok(comes('pages', sub { $contents = $redis->contents; $contents =~ /^rpcproxy:\w+:\w+:\d+$/m }), 'the store has pages');
    unlike($contents, qr/alice|bob|127\.0|\Q$vc\E|contoso|localhost/, 'but no name, address or cookie');
    like($redis->ask('TTL', (grep { !/machines$/ } split /\n/, $redis->ask('KEYS', '*'))[0]), qr/^\d+$/, 'and all of it expires');
    $c->close;
}

# ---- what names no machine is removed from the list of machines, the machines are not ----
{
    my ($list) = grep { /:machines$/ } split /\n/, $redis->ask('KEYS', '*');
    $redis->ask('SADD', $list, 'cellar', 'z' x 16, '0' x 16, '+00000000000000a', ' 0000000000000a1', 'A' x 16);
    my $members;
    ok(comes('its end', sub { ($members = $redis->ask('SMEMBERS', $list)) !~ /^(?![0-9a-f]{16}$)|^0{16}$/m }), 'what names no machine is removed') or diag $members;
    ok(comes('all', sub { 3 == (() = $redis->ask('SMEMBERS', $list) =~ /^[0-9a-f]{16}$/mg) }), 'the machines stay');
}

# ---- who decides last about a server is right, wherever, however short the machine has run ----
{
    my @status = map { RPCH::Status->new(port => $_->{port}) } @machines;
    my $place = "127.0.0.1[$native->{port}]";
    my $server = sub { my ($json) = @_; return (grep { $_->{port} == $native->{port} } @{ $json->{servers} })[0] };
    my $all = sub { my ($check) = @_; return 3 == grep { $_->awaits(sub { $check->($server->($_[0])) }) } @status };
    my $act = sub { my ($machine, %form) = @_; return $status[$machine]->post({ token => $status[$machine]->token, server => $place, %form })->{status} };
    is($act->(0, action => 'drain'), 303, 'drained at a machine');
    ok($all->(sub { $_[0]{state} eq 'draining' }), 'as all know');
    is($act->(0, action => 'undrain'), 303, 'and used again');
    ok($all->(sub { $_[0]{state} eq 'up' }), 'as all know');
    # It has forgotten both decisions, and the others have not
    my $parent = $machines[2]{pid};
    $machines[2]->stop;
    wait_for('its end', sub { turn(0.02); !kill 0, $parent });
    $machines[2]->start;
    is($act->(2, action => 'drain'), 303, 'a machine that has just been started drains it');
    heard(2, 0);
    my $exchanges = $status[2]->json->{farm}{exchanges};
    $status[2]->awaits(sub { $_[0]{farm}{exchanges} > $exchanges + 1 });
    is($server->($status[2]->json)->{state}, 'draining', 'which no older decision undoes');
    ok($all->(sub { $_[0]{state} eq 'draining' }), 'and all follow');
    is($act->(1, action => 'undrain'), 303, 'another ends that');
    ok($all->(sub { $_[0]{state} eq 'up' }), 'for all');
    # Two at once, neither of whom knows of the other
    my @token = map { $_->token } @status;
    $status[$_->[0]]->post({ token => $token[$_->[0]], action => 'drain', server => $place, after => $_->[1] }) for [0, '1h'], [1, '2h'];
    ok($all->(sub { $_[0]{state} eq 'draining' && abs($_[0]{drain_end} - time - 7200) < 1200 }), 'of two decisions at once one holds for all');
    like($status[0]->html, qr/draining<\/span>, old connections end in (?:1 h 5\d|2 h \d) min/, 'as the page says');
    is($act->(1, action => 'undrain'), 303, 'and it is used again');
    ok($all->(sub { $_[0]{state} eq 'up' }), 'by all');
}

# ---- a store says what it likes ----
{
    require RPCH::Store;
    my $double = RPCH::Store->new;
    my $httpd = RPCH::Httpd->new(conf => "RpcSharedStore redis://127.0.0.1:$double->{port}\nRpcSharedStoreSecret $secret\n" . status_conf())->start;
    my $status = RPCH::Status->new(port => $httpd->{port});
    my @names = map { sprintf '%016x', $_ } 1 .. 3;
    for my $case (['numbers as members', ":7\r\n", "\$-1\r\n"], ['lists and nothing as members', "*2\r\n:1\r\n\$-1\r\n", "\$-1\r\n", "*-1\r\n"],
                  ['a machine without a name', RPCH::Store::bulk(''), RPCH::Store::bulk('xyz'), RPCH::Store::bulk('0' x 16), RPCH::Store::bulk('f' x 15 . 'z')],
                  ['no list', undef], ['a head that is a number', { get => ":5\r\n" }, map { RPCH::Store::bulk($_) } @names],
                  ['a head that is a list', { get => "*1\r\n:5\r\n" }, map { RPCH::Store::bulk($_) } @names],
                  ['a short head', { get => RPCH::Store::bulk('x') }, map { RPCH::Store::bulk($_) } @names],
                  ['many members', map { RPCH::Store::bulk(sprintf '%016x', $_) } 1 .. 20_000],
                  ['many that name no machine', map { RPCH::Store::bulk(sprintf '%016d.', $_) } 1 .. 20_000]) {
        my ($name, @members) = @$case;
        $double->{get} = ref $members[0] ? (shift @members)->{get} : "\$-1\r\n";
        $double->{members} = defined $members[0] ? '*' . @members . "\r\n" . join('', @members) : ":1\r\n";
        my $asked = $double->{asked};
        ok(comes($name, sub { $double->{asked} > $asked + 2 }), "$name: the store is asked again");
        cmp_ok($double->{most}, '<=', 300, "$name: but not for each") if @members > 1000;
        ok($status->awaits(sub { @{ $_[0]{farm}{machines} } == 1 && $_[0]{farm}{stores}[0]{state} eq 'up' }), "$name: nobody is there, and the store is up");
    }
    unlike($httpd->log, qr/exit signal/, 'no child dies of it');
    $double->close;
}

# ---- one of two stores is away: the machines are one ----

# Waits until MACHINE says so of the stores.
sub states {
    my ($machine, @wanted) = @_;
    my %wanted;
    while (my ($store, $state) = splice @wanted, 0, 2) { $wanted{"127.0.0.1:$store->{port}"} = $state }
    return RPCH::Status->new(port => $machines[$machine]{port})->awaits(sub {
        return !grep { $_->{state} ne $wanted{ $_->{name} } } @{ $_[0]{farm}{stores} };
    });
}
{
    my $held = at(0, 'user')->connect;
    heard(1, 2);
    for my $case ([$redis, $second], [$second, $redis]) {
        my ($away, $up) = @$case;
        $away->stop;
        ok($machines[1]->logs(qr/RpcSharedStore: 127\.0\.0\.1:$away->{port} is away/), 'a store is away');
        ok(states(1, $away => 'away', $up => 'up'), 'as the page says, and which is used');
        heard($_, $_ == 0 ? 0 : 2) for 0 .. 2;
        is(answer(at(1, 'user')), 'RPC Error: 6bb', 'what a user has is known, from before');
        my $more = at(1, 'address', %BOB, from => '127.0.90.50')->connect;
        ok(comes('a refusal', sub { answer(at(2, 'address', from => '127.0.90.50')) eq 'RPC Error: 6bb' }), 'and from now');
        $more->close;
        $away->start;
        ok($machines[1]->logs(qr/RpcSharedStore: 127\.0\.0\.1:$away->{port} is back/), 'it is back');
        heard(1, 2);
    }
    $held->close;
}

# ---- the stores are killed, and come back, under load ----
{
    $second->stop;
    my @clients = map { at($_ % 2, 'rpc', %BOB)->connect } 0 .. 5;
    my $held = at(0, 'user')->connect;
    ok(comes('a refusal', sub { answer(at(1, 'user')) eq 'RPC Error: 6bb' }), 'a user has all at one machine');
    my $errors = 0;
    my $load = sub { for my $c (@clients) { my $stub = rand; $errors++ if !eval { $c->call(request_pdu(1, $stub)); 1 } } };
    $load->();
    ok(states($_, $redis => 'up', $second => 'away'), 'one store is left') for 0, 1;
    # What machines say of it from now on
    my @from = map { length $_->log } @machines[0, 1];
    my $told = sub { my ($i, $what) = @_; return scalar(() = substr($machines[$i]->log, $from[$i]) =~ /RpcSharedStore: 127\.0\.0\.1:$redis->{port} $what/g) };
    my $in_turn = sub { my ($i) = @_; return join ' ', substr($machines[$i]->log, $from[$i]) =~ /:(?:warn|notice)\].*RpcSharedStore: 127\.0\.0\.1:$redis->{port} is (away|back)/g };
    # It says nothing, but its connections are open, and the system takes new ones
    kill STOP => $redis->{pid};
    for my $i (0, 1) {
        ok(comes('the warning', sub { $load->(); $told->($i, 'is away: no answer in time') }), 'a store that says nothing is away');
        my $exchanges = RPCH::Status->new(port => $machines[$i]{port})->json->{farm}{exchanges};
        ok(comes('rounds', sub { $load->(); RPCH::Status->new(port => $machines[$i]{port})->json->{farm}{exchanges} > $exchanges + 5 }), 'and asked again and again');
        is($in_turn->($i), 'away', 'but told once');
    }
    kill CONT => $redis->{pid};
    for my $i (0, 1) { ok(comes('the notice', sub { $load->(); $in_turn->($i) =~ /back$/ }), 'it is back') }
    ok(states($_, $redis => 'up', $second => 'away'), 'as the page says') for 0, 1;
    @from = map { length $_->log } @machines[0, 1];
    $redis->stop;
    $load->();
    for my $i (0, 1) {
        ok(comes('the warning', sub { $load->(); $told->($i, 'is away: ') }), 'it is away, which is told');
        ok(states($i, $redis => 'away', $second => 'away'), 'on the page, too');
        like(RPCH::Status->new(port => $machines[$i]{port})->html('?scope=farm'), qr/is <span class="bad">away</, 'also in HTML');
    }
    ok(comes('a machine for itself', sub { $load->(); answer(at(1, 'user')) eq 'taken' }), 'each machine acts for itself');
    $redis->start;
    for my $i (0, 1) {
        ok(comes('the notice', sub { $load->(); $in_turn->($i) =~ /back$/ }), 'it is back, which is told');
        unlike($in_turn->($i), qr/(\w+) \1/, 'in turn');
    }
    ok(comes('a refusal', sub { $load->(); answer(at(1, 'user')) eq 'RPC Error: 6bb' }), 'and the machines are one again');
    is($errors, 0, 'nothing has ended meanwhile');
    $_->close for @clients, $held;
}

# ---- a machine dies ----
heard($_, 0) for 0, 1;
my $last = at(0, 'user')->connect;
ok(comes('a refusal', sub { answer(at(1, 'user')) eq 'RPC Error: 6bb' }), 'a user has all at one machine');
kill KILL => $machines[0]->children, $machines[0]{pid};     # and what it had is forgotten some seconds later, see below

# ---- a child ends while it waits for its stores, which say nothing ----
{
    my $silent = tcp_server(stalled => 1);
    my $httpd = RPCH::Httpd->new(conf => 'RpcSharedStore redis://' . join(',', ("127.0.0.1:$silent->{port}") x 4) . "\nRpcSharedStoreSecret $secret\n")->start;
    my ($old) = grep { !is_endpoint($_) } $httpd->children;
    my $asked = $silent->connection;
    wait_for('a question', sub { IO::Select->new($asked->{fh})->can_read(0.1) });
    $httpd->restart;
    ok(comes('its end', sub { !kill 0, $old }), 'a child that ends leaves its stores');
    unlike($httpd->log, qr/while a round of the watchdog|exit signal/, 'its thread has ended before it');
}

# ---- a store comes back while a reverse look-up for a log hangs ----
SKIP: {
    my $world = RPCH::Preload->new or skip 'no compiler', 2;
    $world->host('127.0.0.5', 'hang');
    my $httpd = RPCH::Httpd->new(conf => "${farm}HostnameLookups On\nLogFormat \"%h\" hosts\nCustomLog hosts_log hosts\n" . RPCH::Httpd->location);
    $world->start($httpd);
    plain(port => $httpd->{port}, target => $native->target, from => '127.0.0.5')->connect->close;
    ok(comes('the look-up', sub { grep { $_ eq '127.0.0.5' } $world->asked }), 'a reverse look-up hangs');
    $redis->stop;
    $httpd->logs(qr/RpcSharedStore: \S+ is away/);
    $redis->start;
    ok($httpd->logs(qr/RpcSharedStore: \S+ is back/), 'a store that is away comes back') or diag grep { /RpcShared/ } $httpd->log =~ /^.*\n/mg;
}

# ---- configtest ----
for my $case (["RpcSharedStore redis://127.0.0.1:1\n", qr/RpcSharedStore needs RpcSharedStoreSecret and a file/],
              ["RpcSharedStore 127.0.0.1\n$farm", qr/RpcSharedStore: expected redis:\/\/host:port/],
              ["RpcSharedStore rediss://127.0.0.1\n", qr/expected redis:\/\/; for TLS let a tunnel/],
              ["RpcSharedStore redis://secret\@127.0.0.1\n", qr/expected a password before the "@"/],
              ["RpcSharedStore redis://127.0.0.1:x\n", qr/expected host:port instead of "127\.0\.0\.1:x"/],
              ["RpcSharedStore redis://a,b,c,d,e\n", qr/expected at most 4 stores/],
              ["RpcSharedStoreSecret none\n", qr/RpcSharedStoreSecret: \S+none cannot be read: No such file.*make it with "openssl rand/],
              ["RpcSharedStoreSecret SHORT\n", qr/has fewer than 16 characters; make it with/],
              ["RpcSharedStoreSecret OPEN\n", qr/can be read by everybody on this machine: chmod 600 it/],
              ["RpcSharedStoreSecret $secret\n", qr/RpcSharedStoreSecret has no effect without RpcSharedStore.*Syntax OK/s]) {
    my ($text, $message) = @$case;
    my $httpd = RPCH::Httpd->new;
    put("$httpd->{dir}/short", "short\n");
    put("$httpd->{dir}/open", 'x' x 40);
    chmod 0600, "$httpd->{dir}/short";
    chmod 0644, "$httpd->{dir}/open";
    my $shown = $text =~ s/\n.*//sr;
    my ($status, $out) = $httpd->configure($text =~ s{SHORT|OPEN}{"$httpd->{dir}/" . lc $&}er)->configtest;
    like($out, $message, "configtest: $shown");
}

ok(comes('its end', sub { answer(at(1, 'user')) eq 'taken' }), 'what a dead machine had is forgotten');
delete $machines[0]{pid};
$_->close for $last, $native;
done_testing;
