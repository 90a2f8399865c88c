# What a client may do to TLS once it has a channel, and httpd has nothing to do with it any more: tiny records,
# empty ones, alerts, new handshakes, new keys, again and again. What harms is bounded, ends its own channel
# with a reason, and no other channel notices.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Needs qw(missing);
use RPCH::Poll qw(wait_for turn);
use RPCH::Relay;
use RPCH::Root;
use RPCH::RPC qw(request_pdu response_pdu rpc_parse);
use RPCH::Test;

plan skip_all => 'no AES for Perl (libcryptx-perl)' if missing('libcryptx-perl');
require RPCH::Records;
my $server = server(echo => 1);
my %port = map { $_ => RPCH::Root::free_ports(1) } qw(records modern);
my %conf = (records => 'SSLProtocol TLSv1.2', modern => "SSLProtocol TLSv1.3\nSSLUseStapling On\nSSLStaplingForceURL http://127.0.0.1:" . refused_port() . "/\n");
my $httpd = RPCH::Httpd->new;
# One I/O thread: whoever is busy with one channel keeps all others waiting. Small buffers are soon full
$httpd->configure("RpcIOThreads 1\nSendBufferSize 16384\nSSLStaplingCache shmcb:stapling(32768)\n" . RPCH::Httpd->location
    . join '', map { RPCH::Httpd->tls_host($port{$_}, $conf{$_}) } sort keys %port)->start;

# A virtual connection whose client makes its own records. ARG: piece, the size of records from the request on.
sub open_records {
    my (%arg) = @_;
    my $c = RPCH::Client->new(port => $port{records}, user => 'alice', password => 'secret', target => $server->target, obey => 0);
    my ($in, $out) = map { RPCH::Records->dial(port => $port{records}, name => $_, %arg) } qw(IN OUT);
    $c->open_in(connection => $in);
    $c->open_out(connection => $out);
    return $c->send_a1->send_b1->opened;
}

my $other = plain(port => $httpd->{port}, target => $server->target)->connect;

# ---- what is allowed ----
{
    my $c = open_records(piece => 1);
    ok($c->works('a byte in each record ' x 20), 'requests, PDUs and calls in records of one byte');
    $c->in->put_raw(map { $c->in->data('') } 1 .. 20);
    ok($c->works('empty ones before'), 'empty records');
    $c->in->put_raw(map { $c->in->warning(90) } 1 .. 3);
    ok($c->works('warnings before'), 'a few warnings');
    $c->in->put_raw($c->in->hello);
    ok($c->works('a ClientHello before'), 'another handshake is not begun');
    wait_for('the alert', sub { @{ $c->in->{alerts} } });
    is("@{ $c->in->{alerts} }", 100, 'and the client is told so: no_renegotiation');

    # An end of what the client sends is no end of what it gets
    $c->out->put_raw($c->out->warning(0));
    ok($c->works('after close_notify'), 'OUT: close_notify leaves the other direction open');
    $c->in->put_raw($c->in->warning(0));
    ok(eval { $c->out->wait_eof }, 'IN: it is the end') or diag $@;
    ok($httpd->logs(qr/RPC_IN_DATA channel .* ended: client-closed/), 'which the log calls by its name');
    is((grep { $_ == 0 } @{ $c->out->{alerts} })[0], 0, 'OUT ends by a close_notify, too');
    $c->close;
}

# ---- what is not ----

# Each gets the IN channel and returns what to send. The end has this alert for the client.
my %harm = (
    'many empty records' => [10, sub { my ($in) = @_; return map { $in->data('') } 1 .. 100 }],
    'many warnings' => [10, sub { my ($in) = @_; return map { $in->warning(90) } 1 .. 100 }],
    'a wrong checksum' => [20, sub { my ($in) = @_; my $record = $in->data('data'); return substr($record, 0, -1) . chr(255 & ~ord substr $record, -1) }],
    'a record that is too long' => [22, sub { return pack('C n n', 23, 0x303, 20_000) . 'x' x 20_000 }],
    'another protocol' => [70, sub { return "GET / HTTP/1.1\r\n\r\n" }],
    'a record of no known type' => [10, sub { my ($in) = @_; return $in->record(99, 'unknown') }],
    'an alert that ends all' => [undef, sub { my ($in) = @_; return $in->alert(2, 40) }],
);
for my $what (sort keys %harm) {
    my ($alert, $records) = @{ $harm{$what} };
    my $c = open_records();
    my $mark = length $httpd->log;
    $c->in->put_raw($records->($c->in));
    ok(eval { $_->wait_eof for $c->in, $c->out; 1 }, "$what: the end of both channels") or diag $@;
    is($c->in->{alerts}[-1], $alert, "$what: with an alert");
    my $line = qr/RPC_IN_DATA channel .* ended: client-error, .* reading from the client failed: Protocol error;/;
    ok(eval { wait_for('the line', sub { turn(0.02); substr($httpd->log, $mark) =~ $line }) }, "$what: the log says why") or diag substr $httpd->log, $mark;
    ok($other->works, "$what: others go on");
    $c->close;
}

# ---- who makes the proxy answer and does not read ----

# Calls MORE until the channels of C have ended.
sub drowns {
    my ($c, $what, $more) = @_;
    my $mark = length $httpd->log;
    my $served = 0;
    ok(eval { wait_for('the end', sub { $more->(); $served++ if $other->works; $c->out->{eof} }) }, "$what: the channels end") or diag $@;
    ok($served, "$what: others are served meanwhile");
    my $line = qr/RPC_IN_DATA channel .* ended: client-error, .* reading from the client failed: No buffer space available;/;
    ok(eval { wait_for('the line', sub { turn(0.02); substr($httpd->log, $mark) =~ $line }) }, "$what: the log says why") or diag substr $httpd->log, $mark;
    return $c->close;
}
SKIP: {
    my $relay = RPCH::Relay->new($port{modern}, '', 1) or skip 'no compiler, or no libssl', 3;
    my $c = plain(port => $relay->{port}, target => $server->target)->connect;
    ok($c->works, 'with OCSP stapling and a responder that is not there');
    shutdown $c->in->{fh}, Socket::SHUT_WR();
    drowns($c, 'new keys without end', sub { });
}

$_->close for $other, $server;
done_testing;
