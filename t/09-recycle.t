# Replacing channels while data flows: within one child (R2), and from one machine to another
# that knows nothing of the connection (R1). Under prefork a successor comes to any child.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my $n = 0;
my $other = RPCH::Httpd->new(conf => RPCH::Httpd->location)->start;   # the other machine
my $tcp = tcp_server();
my $native = server(echo => 1);
my @targets = ([native => $native->target], [endpoint => "tcp.contoso.test:$tcp->{port}"]);
sub calls_ok {
    my ($c, $name) = @_;
    my $stub = pack('N', ++$n) . 'c' x 500;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(eval { rpc_parse($c->call(request_pdu(1, $stub)))->{stub} }, $stub, $name);
}

for my $form (qw(R2 R1)) {
    my %dial = $form eq 'R1' ? (port => $other->{port}, tls => undef) : ();
    for (@targets) {
        my ($name, $target) = @$_;
        # Each machine has an endpoint of its own
        next if $form eq 'R1' && $name eq 'endpoint';
        my $c = client(target => $target)->connect;
        calls_ok($c, "$form $name: before");

        my $mark = mark();
        my $old = $c->in;
        $c->replace_in(dial => {%dial});
        ok(eval { $c->finish_in; 1 }, "$form $name: IN channel replaced") or diag $@;
        calls_ok($c, 'goes on') for 1 .. 3;
        ok(eval { $old->wait_eof }, 'the old IN channel is closed');
        logged($mark, qr/RPC_IN_DATA channel .* ended: recycled/, 'as recycled');
        next if $name eq 'endpoint';

        $mark = mark();
        my $vc = $native->vc;
        $vc->recycle_out;
        $c->expect('OUT_R1/A2');
        $old = $c->out;
        $c->replace_out(dial => {%dial});
        my $got = eval { $c->finish_out };
        like($got, vars('mpm') eq 'prefork' && $form eq 'R2' ? qr/^OUT_R[12]$/ : qr/^OUT_$form$/, "$form $name: OUT channel replaced") or diag $@;
        is($c->out->head->{status}, 200, 'the successor is answered');
        calls_ok($c, 'goes on') for 1 .. 3;
        ok(eval { $old->wait_eof }, 'the old OUT channel is closed');
        logged($mark, qr/RPC_OUT_DATA channel .* ended: recycled/, 'as recycled');
        is_deeply($vc->{errors}, [], 'the server has seen nothing wrong');
        $c->close;
    }
}

$_->close for $native, $tcp;
done_testing;
