# Two machines behind a plain round-robin TCP balancer: each request of a client may reach
# either of them, and so may the successors of its channels. The endpoint on one of them serves both.

use strict;
use warnings;
use Test::More;
use RPCH::Balancer;
use RPCH::Httpd;
use RPCH::PDU qw(rts decode is_rts);
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;

use constant { CLIENTS => 5, CALLS => 70, SIZE => 4000 };

my $tcp = tcp_server();
my $native = server(echo => 1, keeps => 1);
my $shared = RPCH::Root::free_ports(1);
my $location = RPCH::Httpd->location("RpcBackend dc1.contoso.test ncacn_http:127.0.0.1[$shared]\n"
                                     . "RpcValidPorts dc1.contoso.test:135\nRpcChannelLifetime 128K\nRpcReceiveWindow 16K\n");
my @machines = (RPCH::Httpd->new(conf => "RpcEndpointListen 127.0.0.1:$shared ncacn_ip_tcp:127.0.0.1[$tcp->{port}]\n$location"),
                RPCH::Httpd->new(conf => $location));
$_->start for @machines;
my $balancer = RPCH::Balancer->new(map { $_->{port} } @machines);

my %form;       # how often channels were replaced, and how
sub count { my ($name) = @_; $form{$name}++; return }

# What a client does when it gets an RTS PDU during a call (3.2.2.5).
sub obey {
    my ($c, $pdu) = @_;
    if (decode('OUT_R1/A2', $pdu)) { $c->replace_out }
    elsif (my ($r) = grep { decode("OUT_$_/A6", $pdu) } qw(R1 R2)) {
        $c->{form} = "OUT_$r";
        $c->{new_out}->put(rts('OUT_R2/C1')) if $r eq 'R2';
        $c->{in}->put(rts("OUT_$r/A7", new => $c->{new_out_cookie}));
    }
    elsif (decode('OUT_R1/A10', $pdu) || decode('OUT_R2/B3', $pdu)) {
        count($c->{form});
        $c->{new_out}->put(rts('OUT_R1/A11')) if $c->{form} eq 'OUT_R1';
        $c->{out}->close;
        @$c{qw(out out_cookie)} = (delete $c->{new_out}, delete $c->{new_out_cookie});
        $c->{receiver} = RPCH::Flow->receiver($c->{window}, $c->{out_cookie});
    }
    elsif (($r) = grep { decode("IN_$_/A4", $pdu) } qw(R1 R2)) {
        count("IN_$r");
        unshift @{ $c->{got} }, $pdu;
        $c->finish_in;
    }
    else { fail('an unexpected ' . RPCH::PDU::describe($pdu)) }
    return;
}

# Makes one call. Replacements of channels that begin meanwhile are carried out.
sub call {
    my ($c, $stub) = @_;
    my $response;
    $c->send(request_pdu(1, $stub));
    while (!defined $response || $c->{new_out} || $c->{new_in}) {
        my $pdu = $c->next_pdu // die "the OUT channel ended\n";
        if (is_rts($pdu)) { obey($c, $pdu); next }
        $response = rpc_parse($pdu)->{stub};
        $c->consumed(length $pdu);
    }
    return $response;
}

for my $case ([native => $native->target], [endpoint => 'dc1.contoso.test:135']) {
    my ($name, $target) = @$case;
    my $tcp_before = $tcp->connections;
    %form = ();
    my @clients = map { client(port => $balancer->{port}, tls => undef, target => $target) } 1 .. CLIENTS;
    is(scalar(grep { eval { $_->connect } } @clients), CLIENTS, "$name: virtual connections opened");
    my $same = 0;
    for my $i (1 .. CALLS) {
        for my $n (0 .. $#clients) {
            my $stub = "$i of $n." . chr(33 + ($i + $n) % 90) x SIZE;
            my $c = $clients[$n];
            $c->replace_in if $i % 7 == 3;
            $native->{vcs}{ $c->{vc} }->recycle_out if $name eq 'native' && $i % 9 == 4;
                my $got = eval { call($c, $stub) };
            $same++ if defined $got && $got eq $stub;
            die "client $n, call $i: $@" if !defined $got;
        }
    }
    is($same, CLIENTS * CALLS, "$name: every call was answered with its own bytes");
    cmp_ok($form{$_} // 0, '>', 2, "$name: $_, " . ($form{$_} // 0) . ' times') for qw(IN_R1 IN_R2 OUT_R1 OUT_R2);
    is($tcp->connections - $tcp_before, CLIENTS, "$name: one connection to the server each") if $name eq 'endpoint';
    is_deeply([map { @{ $_->{errors} } } values %{ $native->{vcs} }], [], "$name: the server has seen nothing wrong")
        if $name eq 'native';
    $_->close for @clients;
}
cmp_ok($balancer->{taken}[$_], '>', 50, "machine $_ took $balancer->{taken}[$_] connections") for 0, 1;
unlike($machines[$_]->log, qr/protocol-error|unknown-cookie|bad-pdu|Segmentation/, "machine $_ has seen nothing wrong") for 0, 1;

# A machine that is stopped takes only its own channels along
{
    my $here = client(port => $machines[1]{port}, tls => undef, target => 'dc1.contoso.test:135')->connect;
    my $there = client(port => $machines[0]{port}, tls => undef, target => 'dc1.contoso.test:135')->connect;
    $machines[1]->signal('TERM')->wait_gone;
    ok(eval { $here->out->wait_eof }, 'a machine stops: its clients are told');
    is(eval { call($there, 'still here') }, 'still here', 'the others go on');
    $_->close for $here, $there;
}

# RpcEndpointListen over restarts: connections continue; a further address, and another server behind
# an address, take effect at once; an address that is no longer named is closed
sub open_at { my ($port) = @_; return IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port) ? 1 : 0 }
{
    my ($httpd, $other) = ($machines[0], tcp_server());
    my $next = RPCH::Root::free_ports(1);
    my $through = sub { my ($port) = @_; my $c = client(port => $httpd->{port}, tls => undef, target => "127.0.0.1:$port"); eval { $c->connect }; return $c };
    my $c = $through->($shared);
    is(eval { call($c, 'before') }, 'before', 'native ncacn_http by our own endpoint');
    for my $case (["RpcEndpointListen 127.0.0.1:$shared ncacn_ip_tcp:127.0.0.1[$tcp->{port}]\nRpcEndpointListen 127.0.0.1:$next ncacn_ip_tcp:127.0.0.1[$other->{port}]\n",
                   'one address more', 1, 1],
                  ["RpcEndpointListen 127.0.0.1:$next ncacn_ip_tcp:127.0.0.1[$other->{port}]\n", 'one less', 0, 1]) {
        my ($conf, $name, @open) = @$case;
        $httpd->restart($conf . $location);
        # The endpoint process learns of the restart a moment later
        ok(eval { RPCH::Poll::wait_for('the addresses', sub { RPCH::Poll::turn(0.02); open_at($shared) == $open[0] && open_at($next) == $open[1] }) },
           "$name: what is open") or diag $@;
        is(eval { call($c, $name) }, $name, "$name: the old connection goes on");
        my $new = $through->($next);
        is(eval { call($new, 'new') }, 'new', "$name: the new address serves");
        ok($other->connections > 0, "$name: by the other server");
        $new->close;
    }
    $_->close for $c, $other;
    # A port that is taken is a start-up error that says so
    my $busy = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1);
    my $third = RPCH::Httpd->new(conf => 'RpcEndpointListen 127.0.0.1:' . $busy->sockport . " ncacn_ip_tcp:127.0.0.1[1024]\n");
    my ($status) = $third->run('-k start');
    isnt($status, 0, 'an address that is taken: httpd does not start');
    like($third->log, qr/Address already in use: .*cannot listen at RpcEndpointListen 127\.0\.0\.1:\d+/, 'and says why');
}

$_->close for $native, $tcp, $balancer;
done_testing;
