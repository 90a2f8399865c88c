# The system clock is set forward and back by hours. The times for which a server is avoided, a user is
# kept out, or a channel has lived are measured by the monotonic clock, which nobody sets.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::RPC qw(request_pdu);
use RPCH::Root;
use RPCH::Test;

use constant HOUR => 3600;

my $world = RPCH::Preload->new or plan skip_all => 'no compiler';
my $port = RPCH::Root::free_ports(1);
my $second = server(host => '127.0.0.3', echo => 1);
my $users = vars('serverroot') . '/conf/users';
my $httpd = RPCH::Httpd->new(conf => <<"CONF");
<Location /rpc/rpcproxy.dll>
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthUserFile $users
AuthNtlmFailures 2 60
Require valid-user
RpcRequireTLS off
RpcValidPorts *.test:6001
RpcMaxFailedTargets 2 60
RpcBackend *.test ncacn_http:127.0.0.2[$port] ncacn_http:127.0.0.3[$second->{port}]
</Location>
CONF
$world->start($httpd);

sub client_of { my ($target, %arg) = @_; return plain(port => $httpd->{port}, target => $target, %arg) }

# Opens a virtual connection and makes a call. Returns whether the first server was tried, or 'none'.
sub opened {
    my (@servers) = @_;
    my $mark = length $httpd->log;
    my %before = map { $_ => $_->connections } @servers;
    my $c = client_of('x.test:6001');
    my $answer = eval { $c->connect; $c->call(request_pdu(1, 'call')) };
    $c->close;
    return 'none' if !defined $answer;
    return 'first' if grep { $_->connections > $before{$_} } @servers;
    # The lines of a channel come a moment after its end, in their order
    wait_for('both channels in the log', sub { turn(0.01); 2 <= (() = substr($httpd->log, $mark) =~ / ended: /g) });
    return substr($httpd->log, $mark) =~ /the next server is tried/ ? 'second, after the first' : 'second';
}

# ---- servers ----
is(opened(), 'second, after the first', 'a server is down');
is(opened(), 'second', 'and avoided');
$world->shift_by(-(HOUR), 3);
is(opened(), 'second, after the first', 'the time of day is set back: it is avoided no longer for that');
for my $avoided (5, 9, 17, 33) {
    $world->shift_by(0, $avoided);
    is(opened(), 'second, after the first', "avoided for less than $avoided seconds");
}
$world->shift_by(2 * HOUR, 0);
is(opened(), 'second', 'the time of day is set forward: it is avoided no shorter');
my $first = server(host => '127.0.0.2', port => $port, echo => 1);
$world->shift_by(0, 61);
is(opened($first), 'first', 'until its time is over');

# ---- channels ----
my $c = client_of('x.test:6001');
$c->connect;
$world->shift_by(-(HOUR), 0);
$c->close;
$c = client_of('x.test:6001');
$c->connect;
$world->shift_by(HOUR, 0);
$c->close;
wait_for('their ends', sub { turn(0.02); 4 <= (() = $httpd->log =~ /RPC_(?:IN|OUT)_DATA channel .* ended: .* -?\d{1,} ms/g) });
my @lived = $httpd->log =~ / ended: .* (-?\d+) ms/g;
ok(!(grep { $_ < 0 || $_ > 1000 * HOUR / 2 } @lived), 'channels have lived for as long as they have');

# ---- failed targets ----
sub asks {
    my ($target) = @_;
    my $http = client_of($target);
    $http->open_out;
    $http->send_a1;
    my $line = $http->out->head->{line};
    $http->close;
    return $line =~ /RPC Error: (\w+)/ ? $1 : $line =~ / 200 / ? 'taken' : $line;
}
asks("x.test:$_") for 7001, 7002;
is(opened($first), 'none', 'a user has asked for too much in vain');
$world->shift_by(HOUR, 0);
is(opened($first), 'none', 'the time of day is set forward: the window is no shorter');
$world->shift_by(-2 * HOUR, 61);
is(opened($first), 'first', 'set back: and no longer');

# ---- passwords ----
sub status {
    my ($password) = @_;
    my $http = RPCH::HTTP->dial(port => $httpd->{port}, name => 'a try');
    $http->request(GET => '/rpc/rpcproxy.dll', user => 'bob', password => $password);
    my $status = $http->head->{status};
    $http->close;
    return $status;
}
is(status('hidden'), 405, 'the right password is let in');
is(status('wrong'), 401, 'a wrong one is not') for 1, 2;
is(status('hidden'), 401, 'the right one neither, then');
$world->shift_by(HOUR, 0);
is(status('hidden'), 401, 'the time of day is set forward: the window is no shorter');
$world->shift_by(-2 * HOUR, 61);
is(status('hidden'), 405, 'set back: and no longer');

$_->close for $first, $second;
done_testing;
