# What the firewall knows of a virtual connection whose channels have been replaced, in the same child
# (R2), in another one and on another machine (R1); and version 1, which has no RTS PDUs.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(pdu contexts_pdu request_pdu uuid ALTER AUTH3 BIND);
use RPCH::Test;

my %UUID = (emsmdb => ['a4f1db00-ca47-1067-b31f-00dd010662da', 0x510000], rfr => ['1544f5e0-613c-11d1-93df-00c04fd7bd09', 1],
            samr => ['12345778-1234-abcd-ef00-0123456789ac', 1]);
my @NOBODY = ('02f9bd78-f373-4ffc-8144-afede8f96ea8', 0);
sub contexts { my ($name, %opt) = @_; return contexts_pdu([$UUID{$name}], %opt) }
sub blinded  { my (%opt) = @_; return contexts_pdu([\@NOBODY], %opt) }
sub auth     { my ($level) = @_; return $level ? (auth => [10, $level, 'x' x 16]) : () }
sub bind_at  { my ($name, $level) = @_; return contexts($name, auth($level)) }
sub alter_at { my ($name, $level) = @_; return contexts($name, ptype => ALTER, auth($level)) }
sub request_at { my ($level) = @_; return request_pdu(1, 'a request', auth($level)) }

my $server = server();
my $users = vars('serverroot') . '/conf/users';
sub location {
    my ($name, $conf) = @_;
    return "<Location /$name/>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\nRequire valid-user\n"
        . "RpcRequireTLS off\nRpcValidPorts exch:1-65535\nRpcProtocolVersions v1 v2\n"
        . "RpcBackend exch ncacn_http:127.0.0.1[$server->{port}]\n$conf\n</Location>\n";
}
my $conf = location(lifted => '') . location(rules => 'RpcAllowInterfaces 6001 emsmdb rfr')
    . location(narrow => 'RpcAllowInterfaces 6001 rfr') . location(port => 'RpcAllowInterfaces 6002 rfr')
    . join '', map { location($_, "RpcMinAuthLevel $_") } qw(connect integrity privacy);
# Children of older generations keep their slots while they have channels
my $httpd = RPCH::Httpd->new(conf => $conf, limits => "ServerLimit 12\nStartServers 1\nThreadsPerChild 25\nMinSpareThreads 1\n"
                             . "MaxRequestWorkers 300\nMaxSpareThreads 300\n")->start;
my $other = RPCH::Httpd->new(conf => $conf)->start;

sub open_at {
    my ($where) = @_;
    my $c = plain(port => $httpd->{port}, path => "/$where/rpcproxy.dll", target => 'exch:6001')->connect;
    return ($c, $server->vc);
}

# Sends one PDU. It is passed on as it is, or with another UUID, or it ends the channel with a line in the
# log.
sub goes {
    my ($c, $vc, $pdu, $how, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @log = map { length $_->log } $httpd, $other;
    $c->send($pdu);
    if ($how eq 'same') { return same_pdu($vc->recv, $pdu, $name) }
    if ($how eq 'blind') {
        my %opt = (ptype => unpack('x2 C', $pdu));
        my $length = unpack 'x10 v', $pdu;
        $opt{auth} = [10, ord(substr $pdu, -23, 1), 'x' x 16] if $length;
        return same_pdu($vc->recv, blinded(%opt), $name);
    }
    ok(eval { $c->in->wait_eof; $vc->wait_end; 1 } && !@{ $vc->{rpc} }, $name);
    my ($reason) = $how =~ /^ends (.*)/;
    return ok((eval { wait_for('the log', sub {
        turn(0.02);
        my $said = substr($httpd->log, $log[0]) . substr $other->log, $log[1];
        $said =~ /inbound channel in Opened ends: \Q$reason\E/;
    }) }), "... $reason");
}

my $unbound = 'ends protocol-error: %s from the client: before a bind';
my $request = sprintf $unbound, 'request';
my $alter = sprintf $unbound, 'alter_context';
# [section, PDUs before the replacement, PDUs after it, what happens to these as a rule, and what happens
# when another machine has seen the PDUs before]
my @cases = (
    [lifted => [], request_at(0), 'same', 'same', 'no rules: a request without a bind'],
    [port => [], request_at(0), 'same', 'same', 'rules of another port'],
    [rules => [], request_at(0), $request, 'same', 'rules, nothing bound: a request'],
    [rules => [], alter_at('emsmdb'), $alter, 'same', 'an alter_context'],
    [rules => [], alter_at('samr'), $alter, 'blind', 'one that is not allowed'],
    [rules => [], bind_at('emsmdb'), 'same', 'same', 'a bind'],
    [rules => [], bind_at('samr'), 'blind', 'blind', 'a bind that is not allowed'],
    [rules => [bind_at('emsmdb')], request_at(0), 'same', 'same', 'bound: a request'],
    [rules => [bind_at('emsmdb'), request_at(0)], alter_at('rfr'), 'same', 'same', 'an alter_context'],
    [rules => [bind_at('emsmdb')], alter_at('samr'), 'blind', 'blind', 'one that is not allowed'],
    [connect => [], request_at(2), $request, 'same', 'connect, nothing bound: a request'],
    [connect => [], alter_at('samr'), $alter, 'blind', 'an alter_context'],
    [connect => [bind_at('samr', 2)], alter_at('rfr'), 'same', 'blind', 'bound at that level: an alter_context without authentication'],
    [connect => [bind_at('samr', 2)], request_at(0), 'same', 'same', 'a request'],
    [connect => [bind_at('samr', 2), alter_at('rfr')], pdu(AUTH3, 1, 'x' x 4, auth(2)), 'same', 'same', 'an auth3'],
    [integrity => [], request_at(5), $request, 'same', 'integrity, nothing bound: a request'],
    [integrity => [], alter_at('samr'), $alter, 'same', 'an alter_context'],
    [integrity => [bind_at('samr', 5)], alter_at('rfr'), 'same', 'same', 'bound at that level: an alter_context'],
    [integrity => [bind_at('samr', 5)], request_at(5), 'same', 'same', 'a signed request'],
    [integrity => [bind_at('samr', 5)], request_at(2), 'ends level-refused', 'ends level-refused', 'one that is not'],
    [privacy => [bind_at('samr', 6)], alter_at('rfr'), 'same', 'same', 'privacy: an alter_context'],
    [privacy => [bind_at('samr', 6)], alter_at('rfr', 5), 'blind', 'blind', 'one of a lower level'],
    [privacy => [bind_at('samr', 6)], request_at(5), 'ends level-refused', 'ends level-refused', 'a request that is only signed'],
);
# A bind below the level is passed on with another UUID, and its level is remembered
my @low = ([connect => 0, 'blind'], [integrity => 2, 'blind'], [privacy => 5, 'blind']);

for my $form (qw(R2 R1-here R1-elsewhere)) {
    my @open = map { [open_at($_->[0]), $_] } @cases;
    for (@open) {
        my ($c, $vc, $case) = @$_;
        for my $pdu (@{ $case->[1] }) { $c->send($pdu); $vc->recv }
    }
    my @open_low = map { [open_at($_->[0]), $_] } @low;
    for (@open_low) {
        my ($c, $vc, $case) = @$_;
        goes($c, $vc, bind_at('samr', $case->[1]), 'blind', "$case->[0]: a bind below the level");
    }
    $httpd->restart if $form eq 'R1-here';
    my %dial = $form eq 'R1-elsewhere' ? (dial => { port => $other->{port} }) : ();
    my $recycle = sub {
        my ($c) = @_;
        $c->replace_in(%dial);
        my $a4 = $c->finish_in;
        return is(defined $a4->{window} ? 'R1' : 'R2', substr($form, 0, 2), "$form: replaced") && $c;
    };
    for (@open) {
        my ($c, $vc, $case) = @$_;
        my ($where, $before, $pdu, $here, $elsewhere, $name) = @$case;
        $recycle->($c);
        goes($c, $vc, $pdu, $form eq 'R1-elsewhere' ? $elsewhere : $here, "$form, $where: $name");
        $c->close;
    }
    for (@open_low) {
        my ($c, $vc, $case) = @$_;
        my ($where) = @$case;
        $recycle->($c);
        goes($c, $vc, alter_at('samr'), $form eq 'R1-elsewhere' && $where ne 'connect' ? 'same' : 'blind', "$form, $where: the low bind is not forgotten");
        $c->close;
    }
}

# ---- several in a row; OUT channels between them; binds on a successor ----
for my $bound (0, 1) {
    my ($c, $vc) = open_at('rules');
    for my $turn (1 .. 3) {
        if ($bound && $turn == 2) {
            goes($c, $vc, bind_at('emsmdb'), 'same', 'a bind on a successor');
        }
        $httpd->restart if $turn == 2;
        if ($turn != 2) {
            $c->replace_in;
            $c->finish_in;
        }
        $vc->recycle_out;
        $c->expect('OUT_R1/A2');
        $c->replace_out;
        is($c->finish_out, $turn == 2 ? 'OUT_R1' : 'OUT_R2', "turn $turn: the OUT channel is replaced") if $turn < 3;
        $c->finish_out if $turn == 3;
    }
    goes($c, $vc, request_at(0), $bound ? 'same' : $request, $bound ? 'what was bound on the way still is' : 'what was never bound still is not');
    $c->close;
}

# ---- a successor by another section ----
for my $case (
    [lifted => rules => bind_at('samr'), request_at(0), $request, 'what was bound without rules does not count under rules'],
    [lifted => connect => bind_at('samr'), request_at(0), $request, 'nor under a least level'],
    [rules => narrow => bind_at('emsmdb'), request_at(0), $request, 'nor under other rules'],
    [connect => integrity => bind_at('samr', 2), alter_at('samr'), $alter, 'nor under a higher level'],
    [lifted => rules => bind_at('samr'), bind_at('samr'), 'blind', 'binds are judged by the rules of the successor'],
    [rules => lifted => bind_at('emsmdb'), request_at(0), 'same', 'without rules it goes on'],
) {
    my ($from, $to, $before, $pdu, $how, $name) = @$case;
    my ($c, $vc) = open_at($from);
    goes($c, $vc, $before, 'same', "$from: a bind");
    $c->replace_in(uri => "/$to/rpcproxy.dll?exch:6001");
    $c->finish_in;
    goes($c, $vc, $pdu, $how, "$from, then $to: $name");
    $c->close;
}

# Where the successor is in another child, or another machine, nobody knows the rules of its predecessor.
{
    my ($c, $vc) = open_at('rules');
    goes($c, $vc, bind_at('emsmdb'), 'same', 'rules: a bind');
    $c->replace_in(uri => '/narrow/rpcproxy.dll?exch:6001', dial => { port => $other->{port} });
    $c->finish_in;
    goes($c, $vc, request_at(0), 'same', 'rules, then narrow on another machine: it goes on');
    goes($c, $vc, alter_at('emsmdb'), 'blind', 'and what it asks for is judged by the rules there');
    $c->close;
}
{
    my ($c, $vc) = open_at('rules');
    goes($c, $vc, bind_at('emsmdb'), 'same', 'rules: a bind before a restart');
    $httpd->restart($conf =~ s/6001 emsmdb rfr/6001 rfr/r);
    $c->replace_in;
    $c->finish_in;
    goes($c, $vc, request_at(0), 'same', 'after a restart with stricter rules it goes on');
    goes($c, $vc, bind_at('emsmdb'), 'blind', 'but new binds are judged by these');
    $c->close;
    ($c, $vc) = open_at('rules');
    goes($c, $vc, bind_at('emsmdb'), 'blind', 'as is a client that connects again');
    $c->close;
    $httpd->restart($conf);
}

# ---- version 1 ----
my $echo = rts('Echo');
for my $where (qw(lifted port rules privacy)) {
    my @first = $where eq 'privacy' ? (bind_at('emsmdb', 6), request_at(6)) : $where eq 'port' ? () : (bind_at('emsmdb'), request_at(0));
    for my $case (['alone', $echo, length $echo, $echo], ['byte by byte', $echo, 1, $echo], ['a big one', pdu(20, 0, 'x' x 5000), 1400],
                  ['one that opens a channel', rts('CONN/B1', vc => 'v' x 16, channel => 'c' x 16, lifetime => 1 << 30, keepalive => 300_000, group => 'g' x 16), 200]) {
        my ($name, $rts, $step) = @$case;
        my ($v1, $leg) = open_v1($httpd->{port}, $server, "/$where/rpcproxy.dll?exch:6001");
        for my $pdu (@first) { $v1->put($pdu); same_pdu($leg->pdu, $pdu, "version 1, $where: a PDU") }
        my $mark = length $httpd->log;
        for (my $at = 0; $at < length $rts; $at += $step) { $v1->put(substr $rts, $at, $step); $v1->flush; turn(0.001) }
        ok(eval { $v1->wait_eof } && !defined $leg->pdu, "$where: an RTS PDU, $name, ends it, and the server has seen none");
        ok(eval { wait_for('the log', sub { turn(0.02); substr($httpd->log, $mark) =~ /mixed proxy in Opened ends: protocol-error: an RTS PDU in version 1/ }) }, 'the log says so');
        $_->close for $v1, $leg;
    }
}
{
    # Without rules all other bytes pass unchanged, in whatever pieces they come
    my ($v1, $leg) = open_v1($httpd->{port}, $server, '/lifted/rpcproxy.dll?exch:6001');
    my @pdus = (request_at(0), bind_at('samr'), pdu(BIND, 3, 'no bind at all', pfc => 1), request_pdu(4, 'y' x 60_000), pdu(2, 5, 'a response'));
    my $all = join '', @pdus;
    for (my $at = 0; $at < length $all; $at += 1499) { $v1->put(substr $all, $at, 1499); $v1->flush }
    same_pdu($leg->pdu, $_, 'version 1 without rules: any other PDU passes') for @pdus;
    $v1->put("GET / HTTP/1.0\r\n\r\n");
    ok(eval { $v1->wait_eof } && !defined $leg->pdu, 'what is no PDU ends it');
    ok(eval { wait_for('the log', sub { turn(0.02); $httpd->log =~ /mixed proxy in Opened ends: bad-pdu/ }) }, 'the log says so');
    $_->close for $v1, $leg;
}

$server->close;
done_testing;
