# FreeRDP through a Remote Desktop Gateway: its OUT channel is replaced while the tunnel is open, when
# the server asks for it and when the smallest lifetime is used up, and the tunnel continues.
#
# FreeRDP 2.11 performs its part of OUT_R2, but it loses the first 4 bytes of the successor. So the
# FreeRDP that is installed is tested up to this point. The rest is tested with a library that
# corrects this fault of FreeRDP.

use strict;
use warnings;
use Test::More;
use RPCH::FreeRDP;
use RPCH::Gateway;
use RPCH::Needs qw(needs);
use RPCH::PDU qw(decode is_rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::Test;

needs(RPCH::FreeRDP::PACKAGES);

# The answer of the target to the connection request ([MS-RDPBCGR] 2.2.1.2.2): it wants TLS, which
# FreeRDP is told not to offer. FreeRDP reports this and ends, which shows that it got every byte.
my $refusal = pack 'H*', '030000130ed000001234000300080001000000';

sub backend { my ($kind, $server) = @_; return (backend => "$kind:127.0.0.1[$server->{port}]") }

# The gateway at the far end of a virtual connection to the native server, or of a TCP connection.
sub native_gateway {
    my ($vc) = @_;
    return RPCH::Gateway->new(sub { @{ $vc->{rpc} } ? $vc->recv : undef }, sub { $vc->send(@_) });
}
sub tcp_gateway { my ($c) = @_; return RPCH::Gateway->new(sub { shift @{ $c->{got} } }, sub { $c->put(@_) }) }

sub tunnel_ok {
    my ($gateway) = @_;
    ok(eval { $gateway->called($gateway->SEND_TO_SERVER) }, 'the tunnel is open') or diag $@;
    is_deeply($gateway->{calls}, [1, 2, 3, 4, 8, 9], 'by these calls');
    return like($gateway->{heard}, qr/Cookie: mstshash=/, 'and carries what FreeRDP says first');
}

sub recycled { my ($httpd) = @_; return scalar(() = $httpd->log =~ /RPC_OUT_DATA channel .* ended: recycled/g) }
sub recycled_ok {
    my ($httpd, $n) = @_;
    my $done = eval { wait_for("recycling $n", sub { turn(0.02); recycled($httpd) >= $n }) };
    return ok($done, "OUT channel replaced ($n)") || diag $@;
}

sub is_ack { my ($pdu) = @_; return decode('FlowControlAck', $pdu) || decode('FlowControlAckWithDestination', $pdu) }
sub successors { my ($name, @pdus) = @_; return map { (decode($name, $_) || {})->{new} // "no $name" } @pdus }

# Tests what the server has seen besides RPC PDUs and acknowledgements: N replacements in the form
# R2, and both legs still there.
sub server_saw {
    my ($server, $vc, $n) = @_;
    my ($in, $out) = map { [grep { is_rts($_) && !is_ack($_) } @{ $_->{all} }] } @$vc{qw(in out)};
    is($server->connections, 2, 'no more legs at the server');
    ok(decode('CONN/A2', shift @$out) && decode('CONN/B2', shift @$in), 'which began as usual');
    my @successors = successors('OUT_R2/A4', @$out);
    is(@successors, $n, "OUT_R2/A4: $n");
    is_deeply([successors('OUT_R2/A8', @$in)], \@successors, 'OUT_R2/A8 of the same successors');
    return is_deeply($vc->{errors}, [], 'nothing wrong');
}

# Tests that FreeRDP has read the refusal and ended, and that httpd has logged no error.
sub end_ok {
    my ($freerdp, $httpd) = @_;
    my $code = eval { $freerdp->exit_code };
    is($code, $freerdp->NEGOTIATION_FAILED, 'FreeRDP ends because of what the target says') or diag $@;
    like($freerdp->log, qr/SSL_REQUIRED_BY_SERVER/, 'byte for byte');
    unlike($freerdp->log, qr/\[ERROR\]\[com\.freerdp\.core\.gateway.*/, 'its gateway code has no complaint');
    # It is chance which of the two channels is seen to end first; the server then closes the other
    for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
        ok($httpd->logs(qr/$method channel .* ended: (?:client|server)-closed/), "the $method channel ends, too");
    }
    unlike($httpd->log, qr/protocol-error|bad-pdu|window-overrun|lifetime-exceeded/, 'nothing was an error to it');
    my $channel = qr/^CONTOSO\\+alice "RPC_OUT_DATA \S+\?localhost:3388 HTTP\/1\.1" 200 .*\n/m;
    my $users = sub { turn(0.02); scalar(() = $httpd->log('access_log') =~ /$channel/g) };
    my $all = eval { wait_for('the access log', sub { $users->() == 1 + recycled($httpd) }) };
    return ok($all, 'every OUT channel has its user') || diag $httpd->log('access_log');
}

subtest 'as installed' => sub {
    my $server = server();
    my $httpd = RPCH::FreeRDP->httpd(backend('ncacn_http', $server));
    my $freerdp = RPCH::FreeRDP->start($httpd->{port});
    my $vc = $server->vc;
    tunnel_ok(native_gateway($vc));
    $vc->recycle_out;
    recycled_ok($httpd, 1);
    ok($freerdp->logs(qr/Receiving OUT R2\/B3 .*_STATE_RECYCLED\b.*_STATE_OUT_CHANNEL_WAIT\b.*_STATE_WAIT_A3W\b/s),
        'FreeRDP has the successor, and the answer on it');
    server_saw($server, $vc, 1);
    ok($freerdp->running && !$vc->{ended}, 'it is still connected');
    $freerdp->signal('TERM')->exit_code;
    ok(eval { $vc->wait_end }, 'its end is noticed') or diag $@;
    $server->close;
};

subtest 'by its own choice of a transport' => sub {
    my $server = server();
    my $httpd = RPCH::FreeRDP->httpd(backend('ncacn_http', $server));
    my $freerdp = RPCH::FreeRDP->start($httpd->{port}, undef, undef, 'auto');
    tunnel_ok(native_gateway($server->vc));
    ok($httpd->logs(qr/"RDG_OUT_DATA \S+ HTTP\/1\.1" 404 /, 'access_log'), 'the first of which is not here');
    $freerdp->signal('TERM')->exit_code;
    $server->close;
};

my $patch = RPCH::FreeRDP::patch();

subtest 'when the server wants it' => sub {
    my $server = server();
    my $httpd = RPCH::FreeRDP->httpd(backend('ncacn_http', $server));
    my $freerdp = RPCH::FreeRDP->start($httpd->{port}, $patch);
    my $vc = $server->vc;
    my $gateway = native_gateway($vc);
    tunnel_ok($gateway);
    my $rest = $refusal;
    for my $n (1 .. 5) {
        $vc->recycle_out;
        recycled_ok($httpd, $n);
        $gateway->say(substr $rest, 0, 3, '');
        $gateway->fill(5 * $n);
    }
    $gateway->say($rest);
    end_ok($freerdp, $httpd);
    server_saw($server, $vc, 5);
    $server->close;
};

subtest 'when the lifetime is used up' => sub {
    my $server = tcp_server(quiet => 1);
    my $httpd = RPCH::FreeRDP->httpd(backend('ncacn_ip_tcp', $server), directives => 'RpcChannelLifetime 131072');
    my $freerdp = RPCH::FreeRDP->start($httpd->{port}, $patch);
    my $connection = $server->connection;
    my $gateway = tcp_gateway($connection);
    tunnel_ok($gateway);
    # FreeRDP gives up after two seconds without a byte of RDP
    my $rest = $refusal;
    for (1 .. 8) {
        $gateway->say(substr $rest, 0, 1, '');
        $gateway->fill(16);
    }
    $gateway->say($rest);
    end_ok($freerdp, $httpd);
    cmp_ok(recycled($httpd), '>=', 4, 'half a mebibyte took several OUT channels');
    is($connection->{rts}, 0, 'of which the target knows nothing');
    ok(eval { $connection->wait_eof }, 'but that they end') or diag $@;
    $server->close;
};

done_testing;
