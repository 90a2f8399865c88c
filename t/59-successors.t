# When a channel is still taking the place of its predecessor, its own successor waits, at the proxies
# and at the endpoint. A client whose channels last for less than a window may be ahead of the proxy in
# this way. Only one successor may wait. The proxy does not read it, and it waits for at most
# RpcSetupTimeout.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::Client;
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(request_pdu);
use RPCH::States;
use RPCH::Test;

sub cookie { return RPCH::Client::cookie() }

# A new channel at a proxy, whose predecessor has the cookie OLD. Returns the cookie of the new channel.
sub newcomer {
    my ($s, $old, %over) = @_;
    my $in = $s->{role} eq 'inbound';
    my $name = $over{name} // 'newcomer';
    my $new = cookie();
    $s->{end}{$name} = $in ? $s->{c}->open_in : $s->{c}->open_out(length => 120);
    $s->put($name => $in ? 'IN_R1/A1' : 'OUT_R1/A3', old => $old, new => $new);
    return $new;
}
sub waits { my ($s) = @_; return $s->log_says("$s->{role} channel waits until the replacement before it is over") }

# [role, state, cookie of the predecessor, what ends the wait, state of the new channel then]
my @WAITS = (
    [inbound => B3W => 'in', sub { $_[0]->put(leg => 'CONN/B3') }, 'IN_R2/A2'],
    [inbound => Wait_B2 => 'new_in', sub { $_[0]->put(leg => 'IN_R1/B2') }, 'IN_R2/A2'],
    [inbound => Opened_A5W => 'new_in', sub { $_[0]->put(client => 'IN_R2/A5')->done_with('client') }, 'IN_R2/A2'],
    [outbound => C1W => 'out', sub { $_[0]->put(leg => 'CONN/C1')->get(client => 'CONN/C2') }, 'OUT_R2/A4'],
    [outbound => A11W => 'new_out', sub { $_[0]->put(client => 'OUT_R1/A11') }, 'OUT_R2/A4'],
    [outbound => R2C1W => 'new_out', sub { $_[0]->put(successor => 'OUT_R2/C1') }, 'OUT_R2/A4'],
    [outbound => B1W => 'new_out', sub { $_[0]->put(leg => 'OUT_R2/B1')->get(client => 'OUT_R2/B3')->done_with('client') }, 'OUT_R2/A4'],
    [outbound => B1OrC1W => 'new_out', sub {
        $_[0]->put(leg => 'OUT_R2/B1')->get(client => 'OUT_R2/B3')->done_with('client')->put(successor => 'OUT_R2/C1');
    }, 'OUT_R2/A4'],
);
for (@WAITS) {
    my ($role, $state, $old, $end, $pdu) = @$_;
    my $s = RPCH::States->reach($role, $state)->now;
    my ($new, $twin) = newcomer($s, $s->{cookie}{$old});
    ok(eval { waits($s) }, "$role $state: a successor waits") or diag $@;
    newcomer($s, $s->{cookie}{$old}, name => 'twin');
    is_rpc_error(delete $s->{end}{twin}, '6c0', "$role $state: a second one does not");
    ok(eval {
        $end->($s);
        $s->get(leg => 'FlowControlAck') if $state =~ /^(?:R2C1W|B1)/;  # the proxy sends it when channels change
        $s->sees(leg => $pdu, new => $new);
    }, "$role $state: and gets its turn") or diag $@;
    $s->close;
}

# A channel that leaves while it waits disturbs nobody, and another one may wait
for my $kind (['inbound', 'Opened_A5W', 'new_in', 'client'], ['outbound', 'B1W', 'new_out', 'leg']) {
    my ($role, $state, $old) = @$kind;
    my $s = RPCH::States->reach($role, $state)->now;
    newcomer($s, $s->{cookie}{$old});
    ok(eval { waits($s); (delete $s->{end}{newcomer})->close; $s->log_says('refused: client-closed') }, "$role: a waiting one leaves") or diag $@;
    my $new = newcomer($s->now, $s->{cookie}{$old});
    ok(eval {
        waits($s);
        if ($role eq 'inbound') { $s->put(client => 'IN_R2/A5')->done_with('client')->sees(leg => 'IN_R2/A2', new => $new) }
        else { $s->put(leg => 'OUT_R2/B1')->get(client => 'OUT_R2/B3')->get(leg => 'FlowControlAck')->sees(leg => 'OUT_R2/A4', new => $new) }
    }, "$role: the next one waits, and gets its turn") or diag $@;
    $s->close;
}

# A channel does not wait for ever
{
    my $s = RPCH::States->reach(inbound => 'Opened_A5W', path => '/hasty/rpcproxy.dll')->now;
    newcomer($s, $s->{cookie}{new_in});
    ok(eval { waits($s) }, 'a successor waits') or diag $@;
    is_rpc_error(delete $s->{end}{newcomer}, '6ba', 'for RpcSetupTimeout');
    $s->close;
}

# ---- R1: the predecessor has moved to another proxy, and its last PDUs here are late ----

sub big { return request_pdu($_[0], 'b' x 4976) }

# The window of the server is full. A5 is not read, because it comes behind PDUs that wait for the
# window.
{
    my $s = RPCH::States->reach(inbound => 'B3W');
    $s->put(leg => 'CONN/B3', window => 8192)->log_says('-> Opened');
    my $held = join '', map { big($_) } 1 .. 80;    # more than the window of the proxy
    $s->{end}{client}->put($held . rts('IN_R1/A5', new => $s->{cookie}{new_in}));
    $s->arrive(leg => big(1))->flows_elsewhere->now;
    my $new = newcomer($s, $s->{cookie}{new_in});
    ok(eval { waits($s) }, 'A5 not read yet: the successor of its successor waits') or diag $@;
    my $leg = $s->{end}{leg};
    for my $n (2 .. 80) {   # until A5 has come through
        my $received = ($n - 1) * 5000;
        $leg->put(rts('FlowControlAck', ack => { received => $received, available => 8192, channel => $s->{cookie}{in} }));
        my $pdu;
        do { $pdu = $leg->pdu } while length $pdu != 5000 && length $pdu != 40;
        last if length $pdu == 40;      # IN_R1/A6
    }
    $s->{end}{old_leg} = delete $s->{end}{leg};
    ok(eval { $s->leg('IN_R1/A2') }, 'then it begins anew, as what it is here: IN_R1') or diag $@;
    ok(eval { $s->put(leg => 'IN_R1/B2')->flows('newcomer', 'leg') }, 'and works') or diag $@;
    $s->close;
}

# A channel that has moved away still delivers its PDUs. The successor of its successor does not wait for
# them.
{
    my $s = RPCH::States->reach(inbound => 'B3W');
    $s->put(leg => 'CONN/B3', window => 8192)->log_says('-> Opened');
    $s->{end}{client}->put(big(1) . big(2));
    $s->put(client => 'IN_R1/A5')->arrive(leg => big(1))->sees(leg => 'IN_R1/A6', new => $s->{cookie}{new_in});
    newcomer($s, $s->{cookie}{new_in});
    my $old = delete $s->{end}{leg};
    ok(eval { $s->leg('IN_R1/A2') }, 'inbound Finished: a successor begins anew beside it') or diag $@;
    $old->put(rts('FlowControlAck', ack => { received => 5000, available => 8192, channel => $s->{cookie}{in} }));
    same_pdu($old->pdu, big(2), 'and what was left is delivered');
    same_pdu($old->pdu, rts('IN_R1/B1'), 'to the end');
    $s->{end}{old} = $old;
    $s->close;
}

# ---- the endpoint ----

for my $state (qw(A6W Opened_B1W)) {
    my $s = RPCH::States->reach(endpoint => $state)->now;
    my $third = cookie();
    my $third_pdu = sub { rts('IN_R1/A2', vc => $s->{cookie}{vc}, old => $s->{cookie}{new_in}, new => $third, window => 65536, timeout => 120_000) };
    $s->dial($_) for qw(third fourth);
    $s->{end}{third}->put($third_pdu->());
    ok(eval { $s->log_says('endpoint: leg waits until the replacement before it is over') }, "endpoint $state: a successor's leg waits") or diag $@;
    $s->{end}{fourth}->put($third_pdu->());
    ok(eval { $s->log_says('refused: protocol-error')->done_with('fourth') }, "endpoint $state: a second one does not") or diag $@;
    ok(eval {
        $s->put(in => 'IN_R1/A6') if $state eq 'A6W';
        $s->put(in => 'IN_R1/B1')->done_with('in')->get(in_next => 'IN_R1/B2')->get(out => 'IN_R1/A3');
        $s->flows(in_next => 'tcp');
        $s->{end}{in_next}->put(rts('IN_R1/A6', new => $third) . rts('IN_R1/B1'));
        $s->done_with('in_next')->get(third => 'IN_R1/B2')->flows(third => 'tcp');
    }, "endpoint $state: and gets its turn") or diag $@;
    $s->close;
}
{
    my $s = RPCH::States->reach(endpoint => 'A6W')->now;
    $s->dial('third');
    $s->put(third => 'IN_R1/A2', old => $s->{cookie}{new_in}, new => cookie());
    ok(eval { $s->log_says('endpoint: leg waits'); 1 }, 'endpoint: one waits') or diag $@;
    $_->close for delete @{ $s->{end} }{qw(in out)};
    ok(eval { $s->gone }, 'and goes with the virtual connection') or diag $@;
    $s->close;
}

# ---- load: lifetimes below the window ----

my ($build) = grep { -x "${_}rpcload" } ($ENV{RPCPROXY_SO} // '') =~ s{[^/]*\z}{}r, 'build/';
my $root = vars('serverroot');
my ($lifetime, $window, $vcs, $bytes) = (131_072, 262_144, 25, 1 << 20);
my @servers;
sub rpcserver {
    my $pid = open my $out, '-|', "exec ${build}rpcserver @_ 2>$root/successors.errors" or die "rpcserver: $!\n";
    push @servers, [$pid, $out];
    chomp(my $port = <$out> // die "rpcserver does not start\n");
    return $port;
}
END { local $?; kill TERM => map { $_->[0] } @servers if @servers }

for my $children (1, 3) {
    my $threads = 10 * $children;
    my $httpd = RPCH::Httpd->new(mpm => 'event', limits => "AsyncRequestWorkerFactor 60\nServerLimit $children\nStartServers $children\n"
            . "ThreadsPerChild 10\nMaxRequestWorkers $threads\nMinSpareThreads 1\nMaxSpareThreads $threads\n",
        conf => "LogLevel warn rpcproxy:info\n" . RPCH::Httpd->location("RpcChannelLifetime $lifetime\nRpcReceiveWindow $window\n"
            . qq(RpcValidPorts "localhost:1024-65535;tcp.contoso.test:1024-65535"\n)))->start;
    my %target = ($children == 1 ? (native => 'localhost:' . rpcserver('-w', $window)) : (),
                  endpoint => 'tcp.contoso.test:' . rpcserver('-t'));
    for my $to (sort keys %target) {
        my $name = "$children children, $to";
        my $out = qx(${build}rpcload long -u ${\ encode_base64('alice:secret', '')} -t $target{$to} -n $vcs -S 10 -b $bytes -l $lifetime -w $window $httpd->{port} 2>$root/successors.load);
        my $status = $?;
        my %got = $out =~ /^(\w+) (\d+)$/mg;
        is($status, 0, "$name: channels that hold less than a window are replaced one after another")
            or diag(do { open my $fh, '<', "$root/successors.load"; <$fh> }, grep { !/client-closed|recycled/ } map { split /^/, $_ } $httpd->log);
        is_deeply([@got{qw(bytes_in bytes_out bytes_ok ended_early)}], [($vcs * $bytes) x 2, 1, 0], "$name: every byte, both ways");
    }
    $httpd->signal('TERM');
}

done_testing;
