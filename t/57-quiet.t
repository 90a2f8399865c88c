# A quiet client is not a dead one: clients that send nothing for a long time, half-close, or begin with
# too little. TCP's options are read from the kernel's table; the test sets the clock forward by minutes.

use strict;
use warnings;
use Socket qw(SHUT_WR);
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::RPC qw(bind_pdu request_pdu response_pdu);
use RPCH::States;
use RPCH::Test;

use constant BANNER => 'ncacn_http/1.0';

# ---- the client's socket at the proxy: probes, due within the first half of the time ----

# The line of /proc/net/tcp for the proxy's socket of this client, with its queues and its timer.
sub at_proxy {
    my ($ch) = @_;
    my ($proxy, $ours) = map { sprintf '%08X:%04X', unpack('L', "\x7f\0\0\1"), $_ } $ch->{fh}->peerport, $ch->{fh}->sockport;
    open my $fh, '<', '/proc/net/tcp' or return;
    for (<$fh>) {
        my (undef, $local, $remote, undef, $queues, $timer) = split;
        return ($queues, $timer) if $local eq $proxy && $remote eq $ours;
    }
    return;
}
# Seconds until the kernel probes the client, by timer 2 of the socket; undef when it never does.
sub probe { my (undef, $timer) = at_proxy(@_); return ($timer // '') =~ /^02:(\w+)/ ? hex($1) / 100 : undef }
# Bytes that the proxy has not read.
sub unread { my ($queues) = at_proxy(@_); return ($queues // '') =~ /:(\w+)$/ ? hex $1 : 0 }
sub is_probed {
    my ($ch, $seconds, $name) = @_;
    my $due;
    ok(eval { wait_for('the timer', sub {
        $due = probe($ch);
        return 1 if defined $due && $due <= $seconds + 0.1 && $due > $seconds - 20;
        return turn(0.02) && 0;
    }) }, $name) or diag 'the kernel probes in ' . ($due // 'never');
}
{
    my $server = server();
    my $c = client(target => $server->target)->connect;
    is_probed($c->in, 120, 'IN over TLS: TCP probes the client after RpcConnectionTimeout of silence');
    is_probed($c->out, 120, 'OUT as well');
    my $small = plain(target => $server->target, path => '/small/rpcproxy.dll')->connect;
    is_probed($small->in, 240, 'RpcConnectionTimeout says when: IN');
    is_probed($small->out, 240, 'OUT');
    $_->close for $c, $small, $server;
}

# ---- minutes pass ----

my $V1 = "RpcProtocolVersions v1 v2\n";
SKIP: {
    my $native = server(manual => 1);
    my $tcp = tcp_server(quiet => 1);
    my $location = RPCH::Httpd->location("RpcSetupTimeout 3600\nRpcFirstPduTimeout 3600\nRpcConnectTimeout 300\n$V1" . qq(RpcValidPorts "127.0.0.1:1024-65535;tcp.contoso.test:1024-65535"\n));
    my $httpd = RPCH::Httpd->new(conf => $V1 . $location . $location =~ s{/rpc/}{/idle/}r =~ s{(SetHandler)}{RpcIdleTimeout 240\n$1}r);
    my $clock = RPCH::Preload->new or skip 'no C compiler', 14;
    $clock->start($httpd);
    my @at = (port => $httpd->{port});

    # The server sends now and then, so OUT needs no ping. This client pings only in answer to pings, so it
    # sends nothing. Beside it there is a client whose server does not read.
    my $s = RPCH::States->reach(inbound => 'Opened', @at);
    my $out = RPCH::States->reach(outbound => 'Opened', @at);
    my $blocked = RPCH::States->reach(inbound => 'B3W', @at, path => '/idle/rpcproxy.dll');
    $blocked->put(leg => 'CONN/B3', window => 8192);
    my $much = join '', map { request_pdu($_, 'm' x 4976) } 1 .. 100;    # more than the window of the proxy
    $blocked->{end}{client}->put($much);
    $blocked->{end}{leg}->pdu;

    # Version 1
    my $v1 = RPCH::HTTP->dial(port => $httpd->{port}, name => 'v1 client');
    $v1->request('RPC_CONNECT', "/rpc/rpcproxy.dll?$native->{host}:$tcp->{port}", user => 'alice', password => 'secret');
    my $behind = $tcp->connection;
    $behind->put(BANNER);
    is_answer($v1->head, 200, 'version 1 is open');

    my $idle = RPCH::States->reach(inbound => 'Opened', @at, path => '/idle/rpcproxy.dll');
    $clock->shift_by(0, 240);
    ok(eval { $idle->gone }, 'RpcIdleTimeout: who is silent is ended') or diag $@;
    ok($httpd->logs(qr/inbound channel in Opened ends: idle-timeout: the client has said nothing for 240 seconds/), 'the log says so');
    my $ended = qr/\[rpcproxy:warn\][^\n]*RPC_IN_DATA channel to \S+ of user "alice" ended: idle-timeout, inbound in Opened: [^\n]*; client 127\.0\.0\.1, server 127\.0\.0\.1\[\d+\]/;
    ok($httpd->logs($ended), 'at warn, with user, client, target and server');
    my $idle1 = RPCH::HTTP->dial(port => $httpd->{port}, name => 'v1 client');
    $idle1->request('RPC_CONNECT', "/idle/rpcproxy.dll?$native->{host}:$tcp->{port}", user => 'alice', password => 'secret');
    $tcp->connection->put(BANNER);
    ok(eval { $idle1->head; $clock->shift_by(0, 240); $idle1->wait_eof }, 'in version 1 too') or diag $@;
    ok($httpd->logs(qr/mixed proxy in Opened ends: idle-timeout/), 'the log says so');

    # The pings of OUT show that more minutes pass
    my $pings = 0;
    for (1 .. 12) { $clock->shift_by(0, 60); my $pdu = $out->{end}{client}->pdu; $pings++ if defined $pdu && $pdu eq rts('Ping') }
    is($pings, 12, 'twelve minutes pass');
    ok(eval { $s->flows(qw(client leg)) }, 'an IN client that has said nothing goes on') or diag $@;
    $out->{end}{leg}->put(my $said = request_pdu(1, 'said'));
    my $heard;
    do { $heard = $out->{end}{client}->pdu } while defined $heard && $heard eq rts('Ping');
    same_pdu($heard, $said, 'so does OUT');
    $behind->put('still here');
    wait_for('bytes', sub { length $v1->{in} || $v1->{eof} });
    is($v1->{in}, 'still here', 'and version 1');
    my ($got, $sent) = (1, 5000);
    my $leg = $blocked->{end}{leg};
    while ($got < 100) {
        $leg->put(rts('FlowControlAck', ack => { received => $sent, available => 8192, channel => $blocked->{cookie}{in} }));
        my $pdu;
        do { $pdu = $leg->pdu } while defined $pdu && length $pdu != 5000;
        last if !defined $pdu;
        $got++;
        $sent += 5000;
    }
    is($got, 100, 'a server that does not read makes no client silent, whatever RpcIdleTimeout says');
    $_->close for $s, $out, $blocked, $v1, $idle1, $native, $tcp;
    $httpd->signal('TERM');
}

# ---- Connecting: PDUs that a client may send at any time are allowed in this state ----

{
    # A server whose backlog is full does not answer connect()
    my $full = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1) or die "listen: $@\n";
    my $port = $full->sockport;
    my @fill = map { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port, Blocking => 0) } 1 .. 4;
    my $c = plain(target => "127.0.0.1:$port", raw => 1, keepalive => 60_000);
    my $mark = mark();
    $c->open_in;
    $c->send_b1;
    $c->in->put(rts('Ping') . rts('Keep-Alive', keepalive => 90_000) . rts('FlowControlAckWithDestination', destination => 3,
                    ack => { received => 0, available => 65536, channel => $c->{out_cookie} }) . bind_pdu());
    logged($mark, qr/inbound channel in Connecting: Ping from the client/, 'a ping while Connecting');
    logged($mark, qr/inbound channel in Connecting: Keep-Alive from the client/, 'a keep-alive');
    logged($mark, qr/inbound channel in Connecting: FlowControlAckWithDestination from the client/, 'an acknowledgement');
    not_logged($mark, qr/protocol-error/, 'none is a protocol error');
    my $leg;
    while (my $fh = $full->accept) {        # first the connections that came before it
        push @fill, $fh;
        next if $fh->peerport == ($fill[0]->sockport // 0) || grep { defined $_->sockport && $fh->peerport == $_->sockport } @fill[0 .. 3];
        sysread $fh, $leg, 65536;
        last;
    }
    is(length $leg, 128, 'the leg is connected: CONN/B2, and no word of the rest before B3');
    $c->close;
}

# ---- a body that ends within the first PDU ----

for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
    my $server = server(manual => 1);
    my $c = plain(target => $server->target);
    my $pdu = $method eq 'RPC_IN_DATA' ? $c->b1 : $c->a1;
    for my $how ('Content-Length', 'half-closed') {
        my $http = http('plain');
        $http->request($method, $c->uri, user => 'alice', password => 'secret', length => $how eq 'half-closed' ? 1000 : 30);
        $http->put(substr $pdu, 0, 30);
        $http->flush;
        shutdown $http->{fh}, SHUT_WR if $how eq 'half-closed';
        is_rpc_error($http, '6c0', "$method, $how: answered at once");
        $http->close;
    }
    is($server->connections, 0, "$method: and the server knows nothing of it");
    $_->close for $c, $server;
}

# ---- an OUT client that closes its sending side ----

{
    my $server = server(manual => 1);
    my $half = sub { my ($ch) = @_; $ch->flush; shutdown $ch->{fh}, SHUT_WR };
    my $next = sub { my ($ch) = @_; my $pdu; do { $pdu = $ch->pdu } while defined $pdu && $pdu eq rts('Ping'); return $pdu };
    my $c = plain(target => $server->target, raw => 1);
    $c->open_in;
    $c->open_out;
    $c->send_a1;
    $half->($c->out);
    $c->send_b1;
    my ($in, $out) = $server->pair;
    $in->expect('CONN/B2');
    $out->expect('CONN/A2');
    $out->put(rts('CONN/C1', window => 65536, timeout => 120_000));
    $in->put(rts('CONN/B3', window => 65536));
    is_answer($c->out->head, 200, 'closed behind A1: answered');
    same_pdu($c->out->pdu, rts('CONN/A3', timeout => 120_000), 'A3');
    same_pdu($next->($c->out), rts('CONN/C2', window => 65536, timeout => 120_000), 'C2');
    $out->put(my $response = response_pdu('it goes on'));
    same_pdu($next->($c->out), $response, 'and RPC PDUs come');
    $c->in->put(bind_pdu());
    same_pdu($in->pdu, bind_pdu(), 'the other way too');

    # Successors as well
    $out->put(rts('OUT_R1/A1'));
    same_pdu($next->($c->out), rts('OUT_R1/A2'), 'A2');
    my $old = $c->out;
    my $new = $c->replace_out;
    $out->expect('OUT_R2/A4');
    $out->put(rts('OUT_R2/A5'));
    $new->put(rts('OUT_R2/C1'));
    $half->($new);
    $out->put(rts('OUT_R2/B1'));
    is_answer($new->head, 200, 'a successor that has closed behind C1 is answered');
    $out->put($response);
    same_pdu($next->($new), $response, 'and goes on');

    # A client that has closed completely is noticed as soon as this can be seen
    my $mark = mark();
    $new->close;
    $out->put($response);
    ok(eval { $out->wait_eof }, 'who has closed both sides is gone, as the next PDU tells') or diag $@;
    logged($mark, qr/RPC_OUT_DATA channel .* ended: client-(?:closed|error)/, 'the log says so');
    $_->close for $c, $old, $server;
}

# ---- version 1: a client that is gone while its server does not read ----

{
    my $tcp = tcp_server(stalled => 1);
    setsockopt $tcp->{fh}, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), 8192;     # so that fewer bytes fill the connection
    my $httpd = RPCH::Httpd->new(conf => $V1 . RPCH::Httpd->location($V1))->start;
    my $ends = 0;
    for my $how (qw(reset close)) {
        my $c = RPCH::HTTP->dial(port => $httpd->{port}, name => 'v1 client');
        $c->request('RPC_CONNECT', "/rpc/rpcproxy.dll?127.0.0.1:$tcp->{port}", user => 'alice', password => 'secret');
        my $s = $tcp->connection;
        $s->put(BANNER);
        is_answer($c->head, 200, "version 1, $how: open");
        # Not more than the kernel of the proxy's machine takes, or the end would not reach the proxy
        my ($rounds, $stuck) = (0, 0);
        while ($stuck < 20 && $rounds++ < 2000) {
            $c->put(request_pdu(1, 'x' x 60_000)) if !$stuck;
            turn(0.01);
            $stuck = unread($c) ? $stuck + 1 : 0;
        }
        is($stuck, 20, "version 1, $how: the proxy reads no more");
        $how eq 'reset' ? $c->reset : $c->vanish;
        $ends++;
        ok($httpd->logs(qr/(?:mixed proxy in Opened ends: client-(?:closed|error).*){$ends}/s), "version 1, $how: noticed although the server does not read");
        $s->close;
    }
    $tcp->close;
}

done_testing;
