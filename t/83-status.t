# SetHandler rpcproxy-status: who is connected, what is full, what is down, why somebody was refused; as
# HTML, JSON and metrics.

use strict;
use warnings;
use IPC::Open2 qw(open2);
use Test::More;
use RPCH::File qw(slurp);
use RPCH::Httpd;
use RPCH::Needs qw(missing modules program);
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(bind_pdu request_pdu);
use RPCH::Root;
use RPCH::Status qw(status_conf);
use RPCH::Test;

my $PYTHON = '/usr/bin/python3';

# Runs PROGRAM with TEXT as its input: exit status and output.
sub judged_by {
    my ($text, @command) = @_;
    my $pid = open2(my $out, my $in, '/bin/sh', '-c', '"$@" 2>&1', 'sh', @command);
    print $in $text;
    close $in;
    my $said = do { local $/; <$out> };
    waitpid $pid, 0;
    return ($? >> 8, $said);
}

# A page as a keyboard, a screen reader and eyes have it; t/partners/read_page.py says what is looked at.
sub reads_well {
    my ($html, $name) = @_;
    SKIP: {
        skip 'python3-html5lib is not installed', 1 if missing('python3-html5lib');
        my ($exit, $said) = judged_by($html, $PYTHON, vars('top_dir') . '/t/partners/read_page.py');
        is("$exit $said", '0 ', "$name reads well");
    }
    return;
}

my $native = server(host => '127.0.0.2', echo => 1);
my $tcp = tcp_server(quiet => 1);
my $gone = RPCH::Root::free_ports(1);
my $users = vars('serverroot') . '/conf/users';
my $conf = <<"CONF" . status_conf();
RpcMaxChannels 40
LogFormat "%m %>s %{RPC_TARGET}e %{RPC_REASON}e %{RPC_CONNECTION}e %{RPC_BACKEND}e" rpcstatus
CustomLog \${SRVROOT_LOG} rpcstatus
<Location /rpc/rpcproxy.dll>
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthUserFile $users
Require user alice bob
RpcRequireTLS off
RpcProtocolVersions v1 v2
RpcValidPorts "*.contoso.test:1024-65535"
RpcBackend native.contoso.test ncacn_http:127.0.0.2[$native->{port}]
RpcBackend gone.contoso.test ncacn_http:127.0.0.3[$gone]
RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1[$tcp->{port}]
RpcAllowInterfaces 6002 epm
</Location>
CONF
my $lib = modules();
my $httpd = RPCH::Httpd->new;
$conf = "LoadModule status_module $lib/mod_status.so\n<Location /server-status>\nSetHandler server-status\nRequire local\n</Location>\n$conf";
$conf =~ s/\$\{SRVROOT_LOG\}/$httpd->{dir}\/rpc_log/;
$httpd->configure($conf)->start;
my $status = RPCH::Status->new(port => $httpd->{port});
sub to { my ($target, %more) = @_; return plain(port => $httpd->{port}, target => $target, %more) }

# The status of an OUT channel with its first PDU.

# ---- nobody is there ----
{
    my $page = $status->get;
    is($page->{status}, 200, 'the page');
    is($page->{headers}{'content-type'}, 'text/html; charset=utf-8', 'is HTML');
    is($page->{headers}{'cache-control'}, 'no-store', 'that nobody keeps');
    like($page->{headers}{'content-security-policy'}, qr/default-src 'none'.*frame-ancestors 'none'/, 'without scripts, in no frame');
    like($page->{content}, qr/<html lang="en">.*<h1>.*<h2 id="connections">/s, 'with a language and headings');
    like($page->{content}, qr/Nothing has failed yet/, 'nothing has failed');
    unlike($page->{content}, qr/<script/i, 'no script');
    my ($version) = slurp('base/version.h') =~ /RPCPROXY_VERSION "(.*)"/;
    like($page->{content}, qr/mod_rpcproxy \Q$version\E/, 'it says the version of the module');
    is($status->json->{version}, $version, 'so does JSON');
    reads_well($page->{content}, 'an idle page');
    reads_well($status->html('?scope=farm'), 'a farm of one machine');
    is_deeply([@{ $status->json }{qw(virtual_connections channels connections failures)}], [0, 0, [], []], 'nobody in JSON');
    is($status->get('?format=nonsense')->{status}, 404, 'there is no other format');
    is($status->{http}->request(DELETE => $status->url)->{status}, 405, 'nor another method');
}

# ---- who is there ----
my ($c, $t) = (to('native.contoso.test:6001')->connect, to('tcp.contoso.test:6001', user => 'bob', password => 'hidden')->connect);
$c->call(request_pdu(1, 'x' x 1000));
my $ids;
{
    my $json = $status->awaits(sub { my ($j) = @_; my $a = $status->connection($j, 'alice'); @{ $j->{connections} } == 2 && $a->{bytes_in} > 1000 && $a->{bytes_out} > 1000
                                         && 2 == grep { $_->{state} eq 'open' } @{ $j->{connections} } });
    ok($json, 'two virtual connections are open, four channels in two rows') or diag $status->get('?format=json')->{content};
    is($json->{channels}, 4, 'of four channels');
    my ($alice, $bob) = map { $status->connection($json, $_) } qw(alice bob);
    is_deeply([@$alice{qw(address target server version in out successors refused_binds)}],
              ['127.0.0.1', 'native.contoso.test:6001', "127.0.0.2[$native->{port}]", 2, JSON::PP::true, JSON::PP::true, 0, 0], 'whose, where to');
    is($alice->{vhost}, "localhost:$httpd->{port}", 'the virtual host');
    is($bob->{server}, "127.0.0.1[$tcp->{port}]", 'for ncacn_ip_tcp the endpoint tells the server');
    cmp_ok(abs($alice->{since} - time), '<', 100, 'since when');
    cmp_ok($alice->{last_heard}, '>=', $alice->{since}, 'last heard');
    $ids = { alice => $alice->{connection}, bob => $bob->{connection} };
    like($_, qr/^[0-9a-f]{16}$/, 'a public id') for values %$ids;
    isnt($ids->{alice}, $ids->{bob}, 'each its own');
    unlike($httpd->log, qr/\Q${\unpack 'H16', $c->{vc}}\E/i, 'which is not the cookie');
    my ($server) = grep { $_->{port} == $native->{port} } @{ $json->{servers} };
    is_deeply([@$server{qw(state channels configured)}], ['up', 2, JSON::PP::true], 'a server and its channels');
    my ($limit) = grep { $_->{directive} eq 'RpcMaxChannels' } @{ $json->{limits} };
    is_deeply([@$limit{qw(used allowed)}], [4, 40], 'a limit');
    cmp_ok($limit->{most}, '>=', 4, 'and its high-water mark');
    my ($of_user) = grep { $_->{directive} eq 'RpcMaxChannelsPerUser' } @{ $json->{limits} };
    is_deeply([@$of_user{qw(used allowed)}], [2, 200], 'a limit of users, by who has most');
    # All are opened, so what waits is over
    my %most = map { $_->{directive} => [@$_{qw(used most)}] } @{ $json->{limits} };
    is_deeply(\%most, { RpcMaxChannels => [4, 4], RpcMaxUnpairedChannels => [0, $most{RpcMaxUnpairedChannels}[1]], RpcMaxChannelsPerUser => [2, 2], RpcMaxChannelsPerAddress => [4, 4],
                        RpcMaxUnpairedPerUser => [0, 2], 'RpcMaxUnpairedPerUser, for an address' => [0, 2], 'RpcMaxUnpairedPerUser, for a target' => [0, 2] }, 'each limit has its high-water mark');

    my $html = $status->html;
    like($html, qr/<th role="rowheader" scope="row" data-label="User"><span>$_</, "$_ in HTML") for qw(alice bob);
    like($html, qr/$_/, 'with the id') for values %$ids;
    unlike($status->html('?q=alice'), qr/$ids->{bob}/, 'a search');
    like($status->html('?q=' . uc substr($ids->{bob}, 3, 8)), qr/>bob</, 'by a part of an id');
    unlike($status->html('?state=waiting'), qr/$ids->{bob}/, 'a filter by state');
    my ($first) = $status->html('?sort=user') =~ /data-label="User"><span>(\w+)</;
    my ($last) = $status->html('?sort=-user') =~ /data-label="User"><span>(\w+)</;
    is("$first $last", 'alice bob', 'sorted, both ways');
    my @pages = map { $status->html("?sort=user&rows=1&page=$_") } 1, 2;
    ok($pages[0] =~ />alice</ && $pages[0] !~ /$ids->{bob}/ && $pages[1] =~ /$ids->{bob}/ && $pages[1] !~ /$ids->{alice}/, 'in pages');
    like($pages[0], qr/rel="next" href="\?sort=user&amp;rows=1&amp;page=2#connections"/, 'with a way to the next');
    like($status->html('?refresh=30'), qr/<meta http-equiv="refresh" content="30">/, 'again by itself');
}

# ---- what went wrong ----
my %failed;
{
    my $half = to('native.contoso.test:6002', user => 'bob', password => 'hidden');
    $half->open_in->put($half->b1);
    my $json = $status->awaits(sub { grep { $_->{state} eq 'waiting' } @{ $_[0]{connections} } });
    my ($waiting) = grep { $_->{state} eq 'waiting' } @{ $json->{connections} };
    is_deeply([@$waiting{qw(user in out)}], ['bob', JSON::PP::true, JSON::PP::false], 'a half that waits for the other');
    like($status->html('?state=waiting'), qr/IN only: the OUT half is missing/, 'in words');
    $half->close;

    is(to('exch9.other.test:6001')->out_status, 503, 'a target that is not allowed');
    is(to('native.contoso.test:6001', password => '<b>"wrong"')->out_status, 401, 'a wrong password');
    is(to('native.contoso.test:6001', user => '<b>"x"&', password => 'y')->out_status, 401, 'an unknown user');
    is(to('gone.contoso.test:6001')->out_status, 503, 'a server that is down');
    my $bound = to('native.contoso.test:6002')->connect;
    $bound->in->put(bind_pdu(call => 3));
    $json = $status->awaits(sub { my %r = map { $_->{reason} => $_ } @{ $_[0]{failures} }; $r{'interface-refused'} && $r{'connect-failed'} && 2 <= grep { $_->{reason} eq 'not-authenticated' } @{ $_[0]{failures} } });
    ok($json, 'all are listed') or diag $status->get('?format=json')->{content};
    %failed = map { $_->{reason} => $_ } @{ $json->{failures} };
    is_deeply([@{ $failed{'target-refused'} }{qw(user address target times)}], ['alice', '127.0.0.1', 'exch9.other.test:6001', 1], 'who asked for what');
    like($failed{'target-refused'}{why}, qr/exch9\.other\.test:6001 is not in RpcValidPorts/, 'and why it was refused');
    like($failed{'connect-failed'}{why}, qr/127\.0\.0\.3 port $gone: .*Connection refused/, 'why a server was not reached');
    like($failed{'interface-refused'}{why}, qr/bind to .* refused: interface-refused/, 'why a bind was refused');
    my ($server) = grep { $_->{port} == $gone } @{ $json->{servers} };
    like($server->{state}, qr{^(?:avoided|suspect)$}, 'the server that is down');
    like($server->{last_error}, qr/Connection refused/, 'and its last error');
    cmp_ok(abs($server->{since} - time), '<', 100, 'since when');
    cmp_ok(abs($server->{last_failure} - $server->{since}), '<', 100, 'and when it failed last');
    my ($other) = grep { $_->{port} == $native->{port} } @{ $json->{servers} };
    is_deeply([@$other{qw(state since last_failure last_check drain_end last_error)}], ['up', undef, undef, undef, undef, ''], 'another has been up since the start');
    like($status->html, qr/127\.0\.0\.3\[$gone\].*?data-label="State"><span><span class="warn">\w+<.*?data-label="Since"><span><time datetime="20.*?data-label="Last error"><span>[^<]*Connection refused, <time /s, 'in HTML, too');
    ok((grep { $_->{refused_binds} == 1 } @{ $json->{connections} }), 'the connection goes on, with a refused bind');
    my $html = $status->html;
    like($html, qr/&lt;b&gt;&quot;x&quot;&amp;/, 'what a client sends is escaped');
    unlike($html, qr/<b>/, 'everywhere');
    like($html, qr/<strong>not-authenticated<\/strong>/, 'a wrong password in HTML');
    reads_well($html, 'a busy page');
    reads_well($status->html('?sort=-target&rows=1&q=contoso'), 'the first of several pages');
    is(to('exch9.other.test:6001')->out_status, 503, 'the same again');
    ok($status->awaits(sub { grep { $_->{reason} eq 'target-refused' && $_->{times} == 2 } @{ $_[0]{failures} } }), 'has no second entry');
    cmp_ok($json->{reasons}{'not-authenticated'}{refused}, '>=', 2, 'and all are counted');
    $bound->close;
}

# ---- one id in all lines ----
$_->close for $c, $t;
{
    my $access = $httpd->logs(qr/^RPC_OUT_DATA 200 native\.contoso\.test:6001 (?:client|server)-closed $ids->{alice} 127\.0\.0\.2\[$native->{port}\]$/m, 'rpc_log');
    ok($access, 'the access log has the id') or diag $httpd->log('rpc_log');
    ok($httpd->logs(qr/^RPC_IN_DATA \d+ tcp\.contoso\.test:6001 \S+ $ids->{bob} 127\.0\.0\.1\[$tcp->{port}\]$/m, 'rpc_log'), 'and where the endpoint went');
    ok($httpd->logs(qr/endpoint: virtual connection of user "bob" .*; connection=$ids->{bob}/), 'the endpoint\'s line has the id')
        or diag $httpd->log;
    ok($httpd->logs(qr/\[rpcproxy:info\].*virtual connection ended: connection=$ids->{alice} user="alice" client=127\.0\.0\.1 target=native\.contoso\.test:6001 server=127\.0\.0\.2\[$native->{port}\] version=2 opened=yes in=\d{4,} out=\d{4,} seconds=\d+\.\d{3} successors=0 by=(?:client|server) reason=(?:client-closed|server-closed|client-error) why="/),
       'one line for the virtual connection');
    ok($httpd->logs(qr/virtual connection ended: connection=$ids->{bob} user="bob"/), 'and for the other');
    is(scalar(() = $httpd->log =~ /\[rpcproxy:info\][^\n]*$ids->{alice}/g), 1, 'no other at info') or diag $httpd->log;
    ok($httpd->logs(qr/$_ channel to native\.contoso\.test:6001 .* ended: .*; connection=$ids->{alice}\b/), "$_: its own line has the id")
        for qw(RPC_IN_DATA RPC_OUT_DATA);
    ok($status->awaits(sub { !@{ $_[0]{connections} } }), 'nobody is left');
}

# ---- version 1 ----
{
    my $v1 = to('tcp.contoso.test:6001');
    my $ch = $v1->dial('version 1');
    $ch->put("RPC_CONNECT /rpc/rpcproxy.dll?tcp.contoso.test:6001 HTTP/1.0\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n");
    is($ch->head->{status}, 200, 'version 1');
    my $json = $status->awaits(sub { grep { $_->{version} == 1 && $_->{state} eq 'open' } @{ $_[0]{connections} } });
    is_deeply([@{ $json->{connections}[0] }{qw(user server in out)}], ['alice', "127.0.0.1[$tcp->{port}]", JSON::PP::true, JSON::PP::true], 'is one connection');
    my $id = $json->{connections}[0]{connection};
    $ch->close;
    ok($httpd->logs(qr/virtual connection ended: connection=$id .* version=1 /), 'with its line');
    ok($httpd->logs(qr/^RPC_CONNECT 200 tcp\.contoso\.test:6001 \S+ $id 127\.0\.0\.1\[$tcp->{port}\]$/m, 'rpc_log'), 'and the id and the server in the access log') or diag $httpd->log('rpc_log');
}

# ---- metrics ----

my %before = $status->samples;
{
    my $page = $status->get('?format=openmetrics');
    is($page->{headers}{'content-type'}, 'application/openmetrics-text; version=1.0.0; charset=utf-8', 'the type of OpenMetrics');
    like($page->{content}, qr/\n# EOF\n\z/, 'and its end');
    my %types;
    $types{$_}++ for $page->{content} =~ /^# TYPE (\S+)/mg;
    is_deeply([grep { $types{$_} > 1 } keys %types], [], 'one TYPE a family');
    is(scalar(() = $page->{content} =~ /^# HELP/mg), scalar keys %types, 'and one HELP');
    is($before{'rpcproxy_requests_refused_total{reason="target-refused"}'}, 2, 'refusals are counted');
    is($before{'rpcproxy_channels_opened_total{role="v1"}'}, 1, 'channels that opened');
    is($before{'rpcproxy_setup_seconds_count{role="out"}'}, $before{'rpcproxy_channels_opened_total{role="out"}'}, 'set-up times');
    cmp_ok($before{'rpcproxy_channel_life_seconds_bucket{role="in",le="+Inf"}'}, '>=', 3, 'lives');
    unlike($page->{content}, qr/le="\d+\.\d+0"/, 'bounds are written as OpenMetrics writes numbers');
    SKIP: {
        skip 'python3-prometheus-client is not installed', 1 if missing('python3-prometheus-client');
        my ($exit, $said) = judged_by($page->{content}, $PYTHON, '-c',
            'import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as p; print(len(list(p(sys.stdin.read()))))');
        is($exit, 0, 'a parser of OpenMetrics takes it') or diag $said;
    }
    SKIP: {
        my $promtool = program('promtool') or skip 'promtool (Debian: prometheus) is not installed', 1;
        my ($exit, $said) = judged_by($status->get('?format=prometheus')->{content}, $promtool, 'check', 'metrics');
        is("$exit $said", '0 ', 'promtool has nothing to say about the older format');
    }
}

# ---- mod_status ----
{
    my $auto = RPCH::Status->new(port => $httpd->{port}, path => '/server-status');
    my %lines = $auto->html('?auto') =~ /^(Rpc\w+): (\d+)$/mg;
    my %now = $status->samples;
    is_deeply([@lines{qw(RpcChannels RpcUnpaired RpcBytesIn RpcBytesOut)}],
              [0, 0, @now{qw(rpcproxy_received_bytes_total rpcproxy_sent_bytes_total)}], 'mod_status says the same in ?auto');
    like($auto->html, qr/<h2>RPC over HTTP \(mod_rpcproxy\)<\/h2>.*<dt>channels: 0<\/dt>/s, 'and on its page');
}

# ---- nothing falls ----
sub falls {
    my %now = $status->samples;
    return join ' ', grep { /(?:_total|_count|_sum|_bucket)(?:\{|$)/ && $now{$_} < $before{$_} } sort keys %before;
}
{
    $httpd->signal('USR1');
    ok($httpd->logs(qr/resuming normal operations.*resuming normal operations/s), 'a graceful restart');
    is(falls(), '', 'no counter falls');
    my $c = to('native.contoso.test:6001')->connect;
    my $json = $status->awaits(sub { @{ $_[0]{connections} } == 1 });
    my $id = $json->{connections}[0]{connection};
    %before = $status->samples;
    my %most_then = map { /^rpcproxy_limit_used_most\{limit="(.*)"/ ? ($1 => $before{$_}) : () } keys %before;
    is_deeply([map { $most_then{$_} >= 2 } qw(channels unpaired channels_of_user channels_of_address unpaired_of_user unpaired_of_address unpaired_of_target)], [(1) x 7], 'each limit has had more than is there now');
    kill KILL => grep { !-e "/proc/$_/comm" || do { open my $fh, '<', "/proc/$_/comm"; readline($fh) !~ /^rpc-endpoint/ } } $httpd->children;
    ok($httpd->logs(qr/virtual connection ended: connection=$id user="alice" .* by=httpd reason=child-died/), 'a child dies: the parent tells its connections');
    ok(eval { wait_for('a new child', sub { turn(0.05); ($status->get->{status} // 0) == 200 }) }, 'another serves');
    is(falls(), '', 'and no counter falls');
    my %now = $status->samples;
    is_deeply({ map { /^rpcproxy_limit_used_most\{limit="(.*)"/ ? ($1 => $now{$_}) : () } keys %now }, { %most_then }, 'nor a high-water mark');
    is($now{'rpcproxy_channels_ended_total{reason="child-died"}'}, 2, 'its channels are counted');
    is_deeply($status->json->{connections}, [], 'and not shown any more');
    $c->close;
}

done_testing;
