# Which RPC interfaces a client may bind to, by RpcAllowInterfaces, RpcProfile, RpcMinAuthLevel and
# Require rpc-interface. What the server sees of a refused bind, and which PDUs end a channel.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(pdu contexts_pdu request_pdu fault_pdu uuid ALTER AUTH3 BIND RESPONSE MGMT);
use RPCH::Test;

my %UUID = (
    emsmdb => ['a4f1db00-ca47-1067-b31f-00dd010662da', 0x510000], 'async-emsmdb' => ['5261574a-4572-206e-b268-6b199213b4e4', 0x10000],
    rfr => ['1544f5e0-613c-11d1-93df-00c04fd7bd09', 1], nspi => ['f5cc5a18-4264-101a-8c59-08002b2f8426', 56], mgmt => [MGMT, 1],
    epm => ['e1af8308-5d1f-11c9-91a4-08002b14a0fa', 3], tsgu => ['44e265dd-7daf-42cd-8560-3cdb6e7a2729', 0x30001],
    samr => ['12345778-1234-abcd-ef00-0123456789ac', 1], winreg => ['338cd001-2244-31f1-aaaa-900038001003', 1],
    svcctl => ['367abb81-9844-35f1-ad32-98f038001003', 2], lsarpc => ['12345778-1234-abcd-ef00-0123456789ab', 0],
    netlogon => ['12345678-1234-abcd-ef00-01234567cffb', 1], drsuapi => ['e3514235-4b06-11d1-ab04-00c04fc2dcd2', 4],
    dssetup => ['3919286a-b10c-11d0-9ba8-00c04fd92ef5', 0], backupkey => ['3dde7c30-165d-11d1-ab8f-00805f14db40', 1],
    dnsserver => ['50abc2a4-574d-40b3-9d66-ee4fd5fba076', 5], srvsvc => ['4b324fc8-1670-01d3-1278-5a47bf6ee188', 3],
    wkssvc => ['6bffd098-a112-3610-9833-46c3f87e345a', 1], unnamed => ['01234567-89ab-cdef-fedc-ba9876543210', 1],
);
# The UUID that takes the place of a refused interface.
my @NOBODY = ('02f9bd78-f373-4ffc-8144-afede8f96ea8', 0);

sub contexts { my ($names, %opt) = @_; return contexts_pdu([map { $UUID{$_} } split ' ', $names], %opt) }

# The same PDU, with that UUID in the contexts of these numbers.
sub blinded {
    my ($names, $which, %opt) = @_;
    my %which = map { $_ => 1 } @$which;
    my $n = 0;
    return contexts_pdu([map { $which{ $n++ } ? \@NOBODY : $UUID{$_} } split ' ', $names], %opt);
}

my $server = server();
my $users = vars('serverroot') . '/conf/users';
sub location {
    my ($name, $conf, $require) = @_;
    $require //= 'Require valid-user';
    return "<Location /$name/>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\n"
        . "$require\nRpcRequireTLS off\nRpcValidPorts exch:1-65535\nRpcProtocolVersions v1 v2\n"
        . "RpcBackend exch ncacn_http:127.0.0.1[$server->{port}]\n$conf\n</Location>\n";
}

my $httpd = RPCH::Httpd->new(conf => join '', "RpcAllowInterfaces 6009 mgmt\nRpcMinAuthLevel connect\n",
    "LogFormat \"%u %r %{RPC_REASON}e refused=%{RPC_REFUSED}e\" refused\nCustomLog refused_log refused\n",
    location(rules => "RpcMinAuthLevel none\nRpcAllowInterfaces 6001 emsmdb async-emsmdb\nRpcAllowInterfaces 6001-6002 rfr\n"
                      . "RpcAllowInterfaces 3388 tsgu\@1.2"),
    location(outer => ''), location(lifted => "RpcMinAuthLevel none\nRpcProfile none"),
    (map { location($_, "RpcMinAuthLevel none\nRpcProfile $_") } qw(exchange rdgateway samba)),
    location(both => "RpcMinAuthLevel none\nRpcProfile exchange samba"),
    location(nspi => "RpcMinAuthLevel none\nRpcProfile exchange\nRpcNspiProtocolSequences ncacn_http:6004"),
    location(elsewhere => "RpcMinAuthLevel none\nRpcProfile exchange\nRpcNspiProtocolSequences ncacn_http:6005"),
    location(book => "RpcMinAuthLevel none\nRpcProfile none\nRpcNspiProtocolSequences ncacn_http:6004"),
    (map { location($_, "RpcProfile none\nRpcMinAuthLevel $_") } qw(connect integrity privacy)),
    location(groups => "RpcMinAuthLevel none\nRpcAllowInterfaces 6001 emsmdb rfr samr", <<'REQUIRE'),
<RequireAny>
<RequireAll>
Require user alice
Require rpc-interface emsmdb samr
</RequireAll>
<RequireAll>
Require user bob
Require rpc-interface rfr winreg
</RequireAll>
</RequireAny>
REQUIRE
    location(several => 'RpcMinAuthLevel none', <<'REQUIRE'),
<RequireAny>
<RequireAll>
Require user alice
Require rpc-interface emsmdb samr
Require user bob
</RequireAll>
<RequireAll>
Require user alice
Require rpc-interface samr winreg
</RequireAll>
</RequireAny>
REQUIRE
    location(targets => '', <<'REQUIRE'),
<RequireAny>
<RequireAll>
Require user alice
Require rpc-target exch:6001-6002 exch:6004
Require rpc-interface emsmdb nspi
</RequireAll>
<RequireAll>
Require user bob
Require rpc-target exch:49152
</RequireAll>
</RequireAny>
REQUIRE
)->start;

sub client_at { my ($where, $port, %arg) = @_; return plain(port => $httpd->{port}, path => "/$where/rpcproxy.dll", target => "exch:$port", %arg) }
sub open_at {
    my ($where, $port, %arg) = @_;
    my $c = client_at($where, $port, %arg)->connect;
    return ($c, $server->vc);
}
sub log_mark { return length $httpd->log }
sub log_like {
    my ($mark, $re, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $found = eval { wait_for("$re in the log", sub { turn(0.02); substr($httpd->log, $mark) =~ $re }) };
    return ok($found, $name) || diag substr $httpd->log, $mark;
}

# Tests what the server sees of a bind (or of the PDU in OPT) for NAMES: the contexts whose numbers are
# in WHICH have that UUID, and all other bytes are as they were sent.
sub bind_is {
    my ($c, $vc, $names, $which, $name, %opt) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $c->send(contexts($names, %opt));
    return same_pdu($vc->recv, blinded($names, $which, %opt), $name);
}

# ---- byte for byte ----
{
    my ($c, $vc) = open_at(rules => 6001);
    my $mark = log_mark();
    bind_is($c, $vc, 'emsmdb', [], 'an allowed interface: the bind is as it was sent');
    bind_is($c, $vc, 'async-emsmdb rfr', [], 'others, by another bind', call => 2);
    unlike(substr($httpd->log, $mark), qr/refused/, 'nothing is refused');
    for my $big (0, 1) {
        my $order = $big ? 'big-endian' : 'little-endian';
        for my $ptype (BIND, ALTER) {
            $mark = log_mark();
            bind_is($c, $vc, 'emsmdb samr rfr winreg', [1, 3], "PTYPE $ptype, $order: two of four", ptype => $ptype, big => $big, call => 7);
            my $what = $ptype == BIND ? 'bind' : 'alter_context';
            log_like($mark, qr/channel to exch:6001 of user "alice": $what to samr \(12345778-1234-abcd-ef00-0123456789ac\@1\.0\) in 2 contexts refused: interface-refused: nearest rule is RpcAllowInterfaces 6001 emsmdb async-emsmdb\b/, 'the log names user, target, interface and rule');
        }
    }
    my $token = join '', map { chr(rand 256) } 1 .. 200;
    bind_is($c, $vc, 'unnamed', [0], 'an interface without a name; its authentication stays', auth => [10, 5, $token]);
    bind_is($c, $vc, 'rfr', [], 'an allowed one with authentication', ptype => ALTER, auth => [9, 6, $token]);
    bind_is($c, $vc, 'mgmt', [0], 'the management interface is no exception');
    for my $stub ('', 'x' x 3000) {
        my $request = request_pdu(3, $stub);
        $c->send($request);
        same_pdu($vc->recv, $request, 'requests go on');
    }
    $vc->send(fault_pdu(5));
    same_pdu($c->recv, fault_pdu(5), 'and what the server answers comes');
    $c->close;
    wait_for('the access log', sub { turn(0.02); $httpd->log('refused_log') =~ /^alice RPC_IN_DATA \S+ HTTP\/1\.1 \S+ refused=6$/m });
    pass('the access log counts them');
}
{
    my ($c, $vc) = open_at(rules => 3388);
    my $mark = log_mark();
    bind_is($c, $vc, 'tsgu', [0], 'a version beyond that of the rule');
    log_like($mark, qr/tsgu \(44e265dd\S+\@1\.3\) refused: interface-refused: nearest rule is RpcAllowInterfaces 3388 tsgu\@1\.2\b/, 'the log says so');
    $mark = log_mark();
    bind_is($c, $vc, 'emsmdb', [0], 'an interface of another port');
    log_like($mark, qr/nearest rule is RpcAllowInterfaces 6001 emsmdb/, 'that one is named');
    bind_is($c, $vc, 'samr', [0], 'refused', ptype => ALTER) for 1 .. 20;
    log_like($mark, qr/; further refusals on this channel are not logged/, 'many of them do not fill the log');
    is(scalar(() = substr($httpd->log, $mark) =~ /interface-refused/g), 9, 'ten a channel');
    $c->close;
    ok($httpd->logs(qr/^alice RPC_IN_DATA \S+ HTTP\/1\.1 \S+ refused=22$/m, 'refused_log'), 'RPC_REFUSED counts them all');
    ($c, $vc) = open_at(rules => 6003);
    bind_is($c, $vc, 'samr', [], 'a port that no rule names is free');
    $c->close;
    ok($httpd->logs(qr/^alice RPC_IN_DATA \S+:6003 HTTP\/1\.1 \S+ refused=-$/m, 'refused_log'), 'RPC_REFUSED is not set when there were none');
}

# ---- what ends a channel ----
for my $case (
    [rules => pdu(BIND, 1, substr(contexts('emsmdb'), 16), pfc => 1), 'bad-pdu', qr/bind from the client: fragmented/, 'a fragmented bind'],
    [rules => contexts('emsmdb', call => 9) =~ s/^(.{28}..)\x01/$1\x09/sr, 'bad-pdu', qr/too short for its transfer syntaxes/, 'more transfer syntaxes than there are'],
    [rules => contexts('emsmdb') =~ s/^(.{24})\x01/$1\x02/sr, 'bad-pdu', qr/too short for its presentation contexts/, 'more contexts than there are'],
    [rules => contexts(''), 'bad-pdu', qr/asks for nothing/, 'no context'],
    [rules => contexts('emsmdb', ptype => ALTER), 'protocol-error', qr/alter_context from the client: before a bind/, 'an alter_context before a bind'],
    [rules => request_pdu(1, 'x'), 'protocol-error', qr/request from the client: before a bind/, 'a request before a bind'],
    [rules => pdu(RESPONSE, 1, 'x' x 8), 'protocol-error', qr/response from the client: not a PDU that clients send/, 'a response'],
    [integrity => [contexts('samr', auth => [10, 5, 'x' x 16]), request_pdu(1, 'x')], 'level-refused', qr/request from the client: no authentication: none, RpcMinAuthLevel is integrity/, 'a request without signature'],
    [privacy => [contexts('samr', auth => [10, 6, 'x' x 16]), request_pdu(1, 'x', auth => [10, 5, 'x' x 16])], 'level-refused', qr/authentication level too low: integrity, RpcMinAuthLevel is privacy/, 'one that is signed and not sealed'],
    [privacy => [contexts('samr', auth => [10, 6, 'x' x 16]), pdu(AUTH3, 1, 'x' x 4, auth => [10, 5, 'x' x 16])], 'level-refused', qr/auth3 from the client: authentication level too low/, 'an auth3 below the level'],
) {
    my ($where, $pdus, $reason, $re, $name) = @$case;
    for my $version (1, 2) {
        my $mark = log_mark();
        my @pdus = ref $pdus ? @$pdus : $pdus;
        if ($version == 2) {
            my ($c, $vc) = open_at($where => 6001);
            $c->send($_) for @pdus;
            ok(eval { $c->in->wait_eof }, "$name: the channel ends");
            ok(eval { $vc->wait_end; 1 }, 'and with it the virtual connection');
            is(scalar @{ $vc->{rpc} }, @pdus - 1, 'the server has not seen it');
            log_like($mark, qr/inbound channel in Opened ends: $reason: .*$re.*RPC_IN_DATA channel .* ended: $reason,/s, 'the log says why');
            $c->close;
        }
        else {
            my ($v1, $leg) = open_v1($httpd->{port}, $server, "/$where/rpcproxy.dll?exch:6001");
            $v1->put($_) for @pdus;
            ok(eval { $v1->wait_eof }, "$name: version 1 ends, too");
            log_like($mark, qr/mixed proxy in Opened ends: $reason: .*$re/, 'the log says why');
            $_->close for $v1, $leg;
        }
    }
}

# ---- version 1 ----
{
    my ($v1, $leg) = open_v1($httpd->{port}, $server, '/rules/rpcproxy.dll?exch:6001');
    my $mark = log_mark();
    my $all = join '', contexts('emsmdb samr'), request_pdu(1, 'x' x 5000), contexts('rfr winreg', ptype => ALTER), request_pdu(2, 'y');
    for (my $at = 0; $at < length $all; $at += 700) { $v1->put(substr $all, $at, 700); $v1->flush; turn(0.01) }
    same_pdu($leg->pdu, blinded('emsmdb samr', [1]), 'version 1, in pieces: a bind');
    same_pdu($leg->pdu, request_pdu(1, 'x' x 5000), 'a request');
    same_pdu($leg->pdu, blinded('rfr winreg', [1], ptype => ALTER), 'an alter_context');
    same_pdu($leg->pdu, request_pdu(2, 'y'), 'the next request');
    log_like($mark, qr/channel to exch:6001 of user "alice": bind to samr .* refused: interface-refused:/, 'in the log');
    $leg->put('whatever the server says');
    wait_for('it', sub { length $v1->{in} >= 24 });
    is($v1->{in}, 'whatever the server says', 'the other way nobody looks');
    $mark = log_mark();
    $v1->put(RPCH::PDU::rts('Echo'));
    ok(eval { $v1->wait_eof }, 'an RTS PDU ends it');
    log_like($mark, qr/ends: protocol-error: an RTS PDU in version 1/, 'as the log says');
    $_->close for $v1, $leg;
}

# ---- profiles, and where directives stand ----
my $SAMBA = 'samr lsarpc netlogon drsuapi dssetup backupkey dnsserver srvsvc wkssvc mgmt';
for my $case (
    [exchange => 593, 'epm mgmt', 'samr emsmdb nspi'], [exchange => 6001, 'emsmdb async-emsmdb mgmt', 'rfr nspi samr unnamed'],
    [exchange => 6002, 'rfr mgmt', 'emsmdb nspi samr'], [exchange => 6003, 'samr', ''],
    # NSPI and RFR are allowed at the ports that RpcNspiProtocolSequences names, and at no others
    [exchange => 6004, 'mgmt', 'nspi rfr emsmdb samr'], [nspi => 6004, 'nspi rfr mgmt', 'emsmdb async-emsmdb samr epm'],
    [nspi => 6001, 'emsmdb', 'nspi rfr'], [nspi => 6002, 'rfr mgmt', 'nspi'],
    [elsewhere => 6004, 'mgmt', 'nspi rfr'], [elsewhere => 6005, 'nspi rfr', 'mgmt emsmdb'],
    [book => 6004, 'nspi rfr', 'samr mgmt'], [book => 6001, 'samr nspi', ''],
    [rdgateway => 593, 'epm mgmt', 'tsgu samr'], [rdgateway => 3388, 'tsgu mgmt', 'samr epm'], [rdgateway => 3389, 'samr', ''],
    (map { [samba => $_, 'epm mgmt', 'samr winreg'] } 135, 593),
    [both => 6001, 'emsmdb async-emsmdb', 'samr unnamed'], [both => 1024, $SAMBA, 'svcctl unnamed'],
    (map { [samba => $_, $SAMBA, 'winreg svcctl epm unnamed'] } 1024, 1300, 49152, 65535),
    (map { [samba => $_, 'winreg', ''] } 1023, 1301, 49151),
    [outer => 6009, 'mgmt', 'samr', auth => [10, 2, 'x' x 16]], [rules => 6009, 'samr', ''], [lifted => 6009, 'samr', ''],
) {
    my ($where, $port, $allowed, $refused, %opt) = @$case;
    my ($c, $vc) = open_at($where => $port);
    bind_is($c, $vc, $allowed, [], "$where $port: $allowed", %opt);
    my @refused = split ' ', $refused;
    bind_is($c, $vc, $refused, [0 .. $#refused], "$where $port: not $refused", %opt) if @refused;
    $c->close;
}

# ---- levels ----
for my $least (qw(connect integrity privacy)) {
    my %level = (connect => 2, integrity => 5, privacy => 6);
    my ($c, $vc) = open_at($least => 6001);
    my $mark = log_mark();
    bind_is($c, $vc, 'samr mgmt', [0, 1], "at least $least: a bind without authentication");
    log_like($mark, qr/bind to samr .* in 2 contexts refused: level-refused: no authentication: none, RpcMinAuthLevel is $least/, 'the log says why');
    bind_is($c, $vc, 'samr', [0], 'nor does an alter_context without any bring it', ptype => ALTER);
    for my $level (1 .. 6) {
        my $enough = $level >= $level{$least};
        bind_is($c, $vc, 'samr mgmt', $enough ? [] : [0, 1], "a bind of level $level", auth => [10, $level, 'x' x 16]);
    }
    bind_is($c, $vc, 'winreg', [], 'now an alter_context without authentication goes by what there is', ptype => ALTER);
    $c->close;
    next if $least eq 'connect';
    ($c, $vc) = open_at($least => 6001);
    my %auth = (auth => [10, $level{$least}, 'x' x 16]);
    bind_is($c, $vc, 'samr', [], 'a bind of that level', %auth);
    my $request = request_pdu(1, 'stub', %auth);
    $c->send($request);
    same_pdu($vc->recv, $request, 'and its requests');
    $c->close;
}

# ---- users ----
for my $case ([alice => 'secret', 'emsmdb samr rfr winreg', [2, 3], 'emsmdb samr'], [bob => 'hidden', 'rfr emsmdb samr winreg', [1, 2, 3], 'rfr winreg']) {
    my ($user, $password, $names, $refused, $rule) = @$case;
    my ($c, $vc) = open_at(groups => 6001, user => $user, password => $password);
    my $mark = log_mark();
    bind_is($c, $vc, $names, $refused, "Require rpc-interface: $user has interfaces of their own");
    log_like($mark, qr/of user "$user": .* refused: interface-refused: nearest rule is Require rpc-interface $rule/, 'the log names the line');
    $c->close;
    ($c, $vc) = open_at(groups => 6002, user => $user, password => $password);
    bind_is($c, $vc, $names, $user eq 'alice' ? [2, 3] : [1, 2], 'also where RpcAllowInterfaces says nothing');
    $c->close;
}

for my $port (6001, 1234) {
    my ($c, $vc) = open_at(several => $port);
    bind_is($c, $vc, 'samr emsmdb winreg', [1, 2], "port $port, several lines: each of them has to allow it, also one whose section fails");
    $c->close;
}

# The answer to the request of an OUT channel.
sub status_at {
    my ($where, $port, %arg) = @_;
    my $c = client_at($where, $port, %arg);
    $c->open_out;
    $c->send_a1;
    my $status = $c->out->head->{status};
    $c->close;
    return $status;
}
{
    my %mine = (alice => { map { $_ => 1 } 6001, 6002, 6004 }, bob => { 49152 => 1 });
    for my $port (6001, 6002, 6003, 6004, 49152, 49153) {
        for my $who ([alice => 'secret'], [bob => 'hidden']) {
            my ($user, $password) = @$who;
            my %who = (user => $user, password => $password);
            if ($mine{$user}{$port}) {
                my ($c, $vc) = open_at(targets => $port, %who);
                pass("Require rpc-target: $port is a target of $user");
                $c->close;
            }
            else { is(status_at(targets => $port, %who), 401, "Require rpc-target: $port is none of $user") }
        }
        is(status_at(targets => $port, user => undef), 401, "$port: who has no password is asked for it");
    }
}

# ---- successors ----
{
    my $other = RPCH::Httpd->new(conf => location(rules => "RpcAllowInterfaces 6001 emsmdb rfr")
        . location(connect => 'RpcMinAuthLevel connect'))->start;
    for my $form (qw(R2 R1)) {
        my %dial = $form eq 'R1' ? (dial => { port => $other->{port} }) : ();
        my ($c, $vc) = open_at(rules => 6001);
        bind_is($c, $vc, 'emsmdb', [], "$form: a bind");
        $c->replace_in(%dial);
        $c->finish_in;
        my $request = request_pdu(1, 'no new bind');
        $c->send($request);
        same_pdu($vc->recv, $request, "$form: the successor goes on without one");
        bind_is($c, $vc, 'rfr samr', [1], "$form: and its alter_contexts are looked at", ptype => ALTER);
        $c->close;
        ($c, $vc) = open_at(connect => 6001);
        bind_is($c, $vc, 'samr', [0], "$form: a bind below the level");
        $c->replace_in(%dial);
        $c->finish_in;
        bind_is($c, $vc, 'samr', [0], 'is not forgotten', ptype => ALTER);
        bind_is($c, $vc, 'samr', [], 'until there is authentication', ptype => ALTER, auth => [10, 2, 'x' x 16]);
        bind_is($c, $vc, 'mgmt', [], 'of which others live', ptype => ALTER);
        $c->close;
    }
}

# ---- configtest ----
for my $case (
    ['RpcAllowInterfaces', qr/expected a port and its interfaces/], ['RpcAllowInterfaces 6001', qr/expected an interface after the port/],
    ['RpcAllowInterfaces 6001 emsmdb nspy', qr/RpcAllowInterfaces: "nspy" at column 13 of "6001 emsmdb nspy": expected the name of an interface/],
    ['RpcAllowInterfaces 6001 nspi@56', qr/"56" at column 11 .*expected a version of two numbers/],
    ['RpcAllowInterfaces 6002-6001 nspi', qr/column 1 .*expected the lower port first, 6001-6002/],
    ['RpcProfile windows', qr/RpcProfile: "windows" at column 1: expected exchange, rdgateway, samba or none/],
    ['RpcMinAuthLevel pkt', qr/RpcMinAuthLevel: "pkt" at column 1: expected none, connect, integrity or privacy/],
    ["<Location />\nRequire rpc-interface emsmdb nspy\n</Location>", qr/Require rpc-interface: "nspy" at column 8 of "emsmdb nspy": expected the name of an interface/],
    ["<Location />\nRequire rpc-interface\n</Location>", qr/expected interfaces, such as emsmdb or samr/],
    (map { [$_, undef] } 'RpcAllowInterfaces 6001-6002 emsmdb a4f1db00-ca47-1067-b31f-00dd010662da@0.81', 'RpcProfile Exchange', 'RpcMinAuthLevel Privacy',
     "<Location />\nRequire rpc-interface emsmdb nspi\@56.0\n</Location>"),
) {
    my ($line, $re) = @$case;
    my ($status, $out) = RPCH::Httpd->new(conf => "$line\n")->configtest;
    if ($re) { ok($status && $out =~ $re, "configtest: $line") or diag $out }
    else { is($status, 0, "configtest: $line") or diag $out }
}

$server->close;
done_testing;
