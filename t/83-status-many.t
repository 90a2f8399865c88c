# The status page of a server with a hundred thousand virtual connections: it goes out in pieces, so it takes
# little memory, and the child that writes it serves others meanwhile, however slowly it is read.

use strict;
use warnings;
use HTTP::Tiny;
use IO::Socket::IP;
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::RPC qw(request_pdu);
use RPCH::Settle qw(is_endpoint);
use RPCH::Status qw(status_conf);
use RPCH::Test;

my $CONNECTIONS = 100_000;
my $PIECES = 32 * 1024;     # KB: less than all of it as text, more than what a view takes
my $full = build_dir() . '/full/mod_rpcproxy.so';
plan skip_all => 'make load builds what this needs' if !-e $full;
my $native = server(echo => 1);
my $httpd = RPCH::Httpd->new;
$httpd->configure(RPCH::Httpd->location . status_conf());
# The first of two modules with one name is loaded
put("$httpd->{dir}/httpd.conf", "LoadModule rpcproxy_module $full\n" . slurp("$httpd->{dir}/httpd.conf"));
$httpd->start;
my $status = RPCH::Status->new(port => $httpd->{port});
my ($child, @others) = grep { !is_endpoint($_) } $httpd->children;
is(scalar @others, 0, 'there is one child');
sub memory { return slurp("/proc/$child/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die "no RssAnon\n" }

my $page = $status->html('?rows=10&sort=user&page=5000');
like($page, qr/Shown: 49991 to 50000 of 100000</, 'a page in the middle');
like($status->html('?q=user9999'), qr/Shown: 1 to 10 of 10 that match, of 100000 in all</, 'a search');
my $before = memory();

# ---- a reader that stops ----
my $slow = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $httpd->{port}) or die "$@\n";
$slow->print("GET /rpc-status?format=json HTTP/1.0\r\n\r\n");
my $read = 0;
while ($read < 1e6) { my $n = sysread $slow, my $piece, 1e5 or die "no page: $!\n"; $read += $n }
my $c = plain(port => $httpd->{port}, target => $native->target)->connect;
ok($c->works, 'a channel of the same child goes on meanwhile');
is($status->get('?rows=10')->{status}, 200, 'others see the page meanwhile');
cmp_ok(memory() - $before, '<', $PIECES, 'what is not read takes little memory') or diag memory() - $before;
close $slow;

# ---- all of it ----
my ($size, $count, $most, $tail) = (0, 0, 0, '');
my $answer = HTTP::Tiny->new(timeout => 60)->get($status->url('?format=json'), { data_callback => sub {
    my ($piece) = @_;
    $size += length $piece;
    $tail .= $piece;
    while ($tail =~ s/^(.*)\n//) { $count++ if $1 =~ /"connection":"[0-9a-f]{16}","user"/ }
    my $now = memory();
    $most = $now if $now > $most;
    $c->call(request_pdu(1, 'on')) if !($size >> 15 & 63);
} });
is($answer->{status}, 200, 'all of it');
is($count, $CONNECTIONS + 1, 'has each connection');
cmp_ok($size, '>', 1024 * $PIECES * 0.6, 'is large: ' . int($size / 1e6) . ' MB');
cmp_ok($most - $before, '<', $PIECES, 'and takes little memory: ' . ($most - $before) . ' KB');
ok($c->works, 'the channel has gone on all the time');
is(join(' ', grep { !is_endpoint($_) } $httpd->children), $child, 'in the same child');
$c->close;
done_testing;
