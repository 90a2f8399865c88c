# Names whose look-up hangs, fails and works again. Nobody waits for the look-ups of others, old answers
# are used while there are no new ones, and httpd can end while look-ups hang. This holds in the
# children, in the endpoint and for the health checks.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::RPC qw(bind_pdu request_pdu);
use RPCH::Root;
use RPCH::Test;

use constant { SHARE => 8, NAMES => 12 };   # look-ups that one user has at one time, and look-ups that this user asks for
use constant EXPIRED => 31;     # seconds: longer than an answer is good for

my $world = RPCH::Preload->new or plan skip_all => 'no compiler';
my ($native, $tcp) = (server(host => '127.0.0.2', echo => 1), tcp_server(host => '127.0.0.2'));
my $users = vars('serverroot') . '/conf/users';
sub location {
    return "<Location /rpc/rpcproxy.dll>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\n"
        . "Require valid-user\nRpcRequireTLS off\nRpcValidPorts *.test:1-65535\nRpcConnectTimeout 3\n"
        . join('', map { "$_\n" } @_) . "</Location>\n";
}
my $httpd = RPCH::Httpd->new(conf => "RpcConnectTimeout 3\n" . location('RpcMaxFailedTargets ' . (SHARE + 1),
    (map { ("RpcBackend *.$_.tcp.test ncacn_ip_tcp:*.$_.test[$tcp->{port}]", "RpcBackend *.$_.test ncacn_http:*.$_.test[$native->{port}]") }
     qw(good dead1 dead2 dead3))));
$world->start($httpd);
my $mark = 0;
sub since { return substr $httpd->log, $mark }

my %password = (alice => 'secret', bob => 'hidden');
sub open_to {
    my ($user, $target) = @_;
    my $c = plain(port => $httpd->{port}, user => $user, password => $password{$user}, target => "$target:6001");
    $c->open_in;
    $c->open_out;
    $c->send_a1->send_b1;
    return $c;
}

# Can USER make a call to TARGET?
sub reaches {
    my ($user, $target) = @_;
    my $c = open_to($user, $target);
    my $answer = eval { $c->opened; $c->call($target =~ /tcp/ ? bind_pdu(call => 3) : request_pdu(1, 'call')) };
    $c->close;
    return defined $answer;
}
sub was_asked { my ($name) = @_; return scalar grep { $_ eq $name } $world->asked }
sub asked_below { my ($zone) = @_; return scalar grep { /\.\Q$zone\E$/ } $world->asked }

# One child has one resolver. Event has one child here; under prefork each child has a resolver.
for (vars('mpm') eq 'event' ? (['native', 'test'], ['behind the endpoint', 'tcp.test']) : ()) {
    my ($kind, $zone) = @$_;
    $mark = length $httpd->log;

    # ---- a zone that is dead ----
    my $dead = $zone eq 'test' ? 'dead1' : 'dead2';
    $world->name("$dead.test", 'hang');
    $world->name('good.test', '127.0.0.2');
    my @waiting = map { open_to(alice => "n$_.$dead.$zone") } 1 .. NAMES;
    wait_for('her share', sub { turn(0.02); asked_below("$dead.test") == SHARE });
    ok(reaches(bob => "srv.good.$zone"), "$kind: one user's names hang, and another's is found");
    is(asked_below("$dead.test"), SHARE, "$kind: she has no more threads than her share");
    if ($zone eq 'test') {
        wait_for('the end of all', sub { turn(0.02); NAMES == grep { $_->out->{eof} } @waiting });
        my $ends = sub { scalar(() = $httpd->log('access_log') =~ /RPC_OUT_DATA \S*\Q.$dead.test\E\S* .* $_[0]$/mg) };
        wait_for('their lines', sub { turn(0.02); $ends->('\S+') == NAMES });
        my @ends = map { $ends->($_) } qw(resolve-failed local-failure);
        is("@ends", SHARE . ' ' . (NAMES - SHARE), 'those that were looked up have failed, the others were never tried');
        ok(eval { wait_for('the log', sub { turn(0.02); since() =~ /local-failure/ }) }, 'as the log says');
        ok(reaches(alice => 'srv.good.test'), 'and are not counted as targets asked for in vain');
    }
    $_->close for @waiting;
    $world->name("$dead.test", 'none');

    # ---- a name server that is down ----
    my $stale = qr/\[rpcproxy:warn\].* the name srv\.good\.test cannot be looked up \(/;
    unlike(since(), $stale, "$kind: all is well so far");
    $world->name('good.test', 'fail');
    $world->shift_by(0, EXPIRED);
    ok(reaches(bob => "srv.good.$zone"), "$kind: the name server fails: the last good answer serves");
    ok(reaches(bob => "srv.good.$zone"), "$kind: again");
    ok(eval { wait_for('the line', sub { turn(0.02); since() =~ /$stale/ }) }, "$kind: the log says so");
    is(scalar(() = since() =~ /$stale/g), 1, "$kind: in one line");
    $world->name('good.test', 'hang');
    $world->shift_by(0, EXPIRED);
    ok(reaches(bob => "srv.good.$zone"), "$kind: it is silent: the same");
    $world->name('good.test', '127.0.0.2');
    $world->shift_by(0, EXPIRED);
    ok(reaches(bob => "srv.good.$zone"), "$kind: the name server is back");
    ok($httpd->logs(qr/^.{$mark}.*\[rpcproxy:notice\].* the name srv\.good\.test can be looked up again/s), "$kind: one line says so");
    $world->name('good.test', 'none');
    $world->shift_by(0, EXPIRED);
    ok(!reaches(bob => "srv.good.$zone"), "$kind: a name that is gone is gone at once");
    if ($zone eq 'test') {
        my $vain = open_to(bob => 'srv.good.test');
        is_rpc_error($vain->out, '6ba', "$kind: the client learns it", 0x5a0);
        ok($httpd->logs(qr/RPC_OUT_DATA channel to srv\.good\.test:\S+ of user "bob" ended: resolve-failed, /), "$kind: the log says so");
        $vain->close;
    }
}

# ---- the end ----
$world->name('dead3.test', 'hang');
my @waiting = map { open_to(alice => $_) } 'child.dead3.test', 'endpoint.dead3.tcp.test';
wait_for("the look-up of the $_", sub { turn(0.02); was_asked("$_.dead3.test") }) for qw(child endpoint);
$httpd->signal('TERM');
$httpd->wait_gone;
unlike($httpd->log, qr/sending a SIGKILL|exit signal/, 'a stop waits for no look-up');
$_->close for @waiting;

# ---- health checks ----
{
    my ($gone, $good) = (RPCH::Root::free_ports(1), server(host => '127.0.0.3', echo => 1));
    $world->name('dead4.test', 'hang');
    $httpd = RPCH::Httpd->new(conf => "RpcHealthCheck connect interval=1 timeout=60\n" . location(
        'RpcBackend slow.test ncacn_http:srv.dead4.test[6001]', "RpcBackend x.test ncacn_http:127.0.0.4[$gone] ncacn_http:127.0.0.3[$good->{port}]"));
    $world->start($httpd);
    ok($httpd->logs(qr/health check: 127\.0\.0\.4 port $gone: .*avoided/), 'a server is down');
    my $had = $good->connections;
    ok(eval { wait_for('checks', sub { $good->connections >= $had + 3 }) }, 'servers are checked while the name of another hangs');
    unlike($httpd->log, qr/dead4/, 'which has not failed yet');
    $mark = length $httpd->log;
    ok(reaches(bob => 'x.test'), 'a client');
    unlike(since(), qr/the next server is tried/, 'meets none that is known to be down');
    $httpd->signal('TERM');
    $httpd->wait_gone;
    unlike($httpd->log, qr/sending a SIGKILL|exit signal/, 'and a stop waits for no check');
    $good->close;
}

$_->close for $native, $tcp;
done_testing;
