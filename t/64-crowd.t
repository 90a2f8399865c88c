# With the sample configuration, web pages and RPC over HTTP are served while hundreds of connections stop
# in the middle of a handshake, a header or a body, for which no password is needed. httpd closes these
# connections.

use strict;
use warnings;
use Test::More;
use IO::Poll qw(POLLIN);
use IO::Socket::IP;
use RPCH::File qw(slurp);
use RPCH::Httpd;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;

my $root = vars('serverroot');

# The times of the sample are shortened, so that the test does not wait for them.
my $sample = slurp('conf/rpcproxy.conf');
ok($sample =~ s/^(\s+RequestReadTimeout handshake=)10 header=10-20,MinRate=500 body=10,/${1}3 header=3-4,MinRate=500 body=3,/m,
   'the sample has times for handshake, header and body');

my $server = server(echo => 1);
my $tls = RPCH::Root::free_ports(1);
my $httpd = RPCH::Httpd->new(mpm => 'event', limits => '', conf => $sample . <<"CONF")->start;
Listen 127.0.0.1:$tls
<VirtualHost 127.0.0.1:$tls>
@{[ RPCH::Httpd->tls_lines ]}
</VirtualHost>
@{[ RPCH::Httpd->loosened_sample ]}
CONF

my %kinds = (
    'half a handshake' => [$tls, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    'half a header' => [$httpd->{port}, "RPC_IN_DATA /rpc/rpcproxy.dll?a:1 HTTP/1.1\r\nHost: loc"],
    'a chunked body' => [$httpd->{port}, "RPC_IN_DATA /rpc/rpcproxy.dll?a:1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"],
    'an echo' => [$httpd->{port}, "RPC_OUT_DATA /rpc/rpcproxy.dll?a:1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab"],
    'a form' => [$httpd->{port}, "POST /nothing-here HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nab"],
);

sub serves {
    my ($beside) = @_;
    my $page = RPCH::HTTP->dial(port => $httpd->{port}, name => 'a page')->request('GET', '/nothing-here');
    is(eval { $page->head->{status} }, 404, "$beside: a page");
    my $c = plain(port => $httpd->{port}, target => $server->target);
    ok(eval { $c->connect; rpc_parse($c->call(request_pdu(1, 'works')))->{stub} eq 'works' }, "$beside: RPC over HTTP") or diag $@;
    $_->close for $page, $c;
    @{ $server->{new} } = @{ $server->{opened} } = ();
    return;
}

# Opens NUMBER connections of each kind. Returns pairs of a handle and its kind.
sub crowd {
    my ($number) = @_;
    my @crowd;
    for my $kind (sort keys %kinds) {
        my ($port, $bytes) = @{ $kinds{$kind} };
        for (1 .. $number) {
            my $fh = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port) or die "$@\n";
            syswrite $fh, $bytes;
            push @crowd, [$fh, $kind];
        }
    }
    return @crowd;
}

# How many connections of a crowd are still open when the time of all of them has passed.
sub left {
    my ($crowd) = @_;
    my %open = map { 0 + $_->[0] => $_ } @$crowd;
    my $poll = IO::Poll->new;
    $poll->mask($_->[0] => POLLIN) for @$crowd;
    my $end = time + 25;
    while (%open && time < $end) {
        $poll->poll(1);
        for my $fh ($poll->handles(POLLIN)) {
            next if sysread $fh, my $answer, 65536;
            $poll->remove($fh);
            delete $open{ 0 + $fh };
        }
    }
    my %left;
    $left{ $_->[1] }++ for values %open;
    return join ', ', map { "$left{$_} with $_" } sort keys %left;
}

my @crowd = crowd(13);
serves('beside 65');
push @crowd, crowd(85);
serves('beside 490');
is(left(\@crowd), '', 'and all of them are gone');
serves('afterwards');
$server->close;

# ---- without mod_reqtimeout the start says so ----
unlike($httpd->log, qr/mod_reqtimeout/, 'mod_reqtimeout is there: no word of it');
my $without = RPCH::Httpd->new(mpm => 'event');
my %text = (modules => slurp("$root/conf/modules.conf") =~ s/^LoadModule reqtimeout_module .*\n//mr,
            httpd => slurp("$without->{dir}/httpd.conf") =~ s{Include \Q$root\E/conf/modules\.conf}{Include $without->{dir}/modules.conf}r);
for my $name (keys %text) {
    open my $fh, '>', "$without->{dir}/$name.conf" or die "$name: $!\n";
    print $fh $text{$name};
    close $fh or die "$name: $!\n";
}
$without->start;
ok($without->logs(qr/rpcproxy:notice.*mod_reqtimeout is not loaded: .* set RequestReadTimeout/), 'it is not there: a line at start');
done_testing;
