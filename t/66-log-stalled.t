# When a log takes no lines, or a reverse look-up never ends, only lines of logs are lost. Channels are
# opened and served, the lost lines are counted and reported, and the child can end.

use strict;
use warnings;
use Test::More;
use Time::HiRes ();
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(turn wait_for);
use RPCH::Preload;
use RPCH::Root;
use RPCH::Test;

plan skip_all => 'a child has all channels here' if vars('mpm') eq 'prefork';
my $root = vars('serverroot');
my $server = server(echo => 1);
my $tcp = tcp_server();
my $closed = RPCH::Root::free_ports(1);

# A program for piped logs that reads nothing until the test tells it to.
my $pipe = "$root/stalled.pl";
{
    open my $fh, '>', $pipe or die $!;
    print $fh <<'PERL';
my ($go, $out) = @ARGV;
close STDOUT; close STDERR;     # the process that starts httpd waits until these are closed
select undef, undef, undef, 0.02 until -e $go;
open OUT, '>>', $out or die $!;
syswrite OUT, $bytes while sysread STDIN, $bytes, 65536;
PERL
}
sub stalling {
    my ($name) = @_;
    return qq("|$^X $pipe $root/$name-go $root/$name-out");
}
sub stalls { my ($name) = @_; return !-e "$root/$name-out" }
sub go { my ($name) = @_; open my $fh, '>', "$root/$name-go" or die $!; return }
sub out {
    my ($name) = @_;
    open my $fh, '<', "$root/$name-out" or return '';
    local $/;
    return scalar(<$fh>) // '';
}

sub client_of { my ($httpd, %arg) = @_; return plain(port => $httpd->{port}, target => $server->target, %arg) }

# Opens COUNT channels that are refused, with long lines in the access log.
sub refuse {
    my ($httpd, $count, @headers) = @_;
    for (1 .. $count) {
        my $c = client_of($httpd, target => "127.0.0.1:$closed", headers => \@headers);
        $c->open_out;
        $c->send_a1;
        $c->out->wait_eof;
        $c->close;
    }
    return;
}
my $long = 'x' x 8000;

# ---- an access log ----
{
    my $some = join '', map { "%{X-Long-$_}i" } 1 .. 30;
    my $httpd = RPCH::Httpd->new(conf => "LogFormat \"%m %{RPC_REASON}e $some\" long\nCustomLog " . stalling('access') . " long\n"
                                 . RPCH::Httpd->location('RpcMaxFailedTargets 0 1'))->start;
    my $c = client_of($httpd)->connect;
    refuse($httpd, 12, "X-Long-1: $long");      # more bytes than a pipe holds
    ok($c->works, 'a channel that lives is served');
    ok((my $new = client_of($httpd)->connect)->works, 'and new ones are opened');
    $new->close;
    ok($httpd->logs(qr/RPC_OUT_DATA channel to \S+ of user "alice" ended: server-closed/), 'the error log goes on');
    ok(stalls('access'), 'while no line of the access log has been read');
    my $lines = 14;

    # More lines than the module keeps
    my $enough = 80;
    refuse($httpd, $enough, map { "X-Long-$_: $long" } 1 .. 30);
    $lines += $enough;
    ok($httpd->logs(qr/rpcproxy:warn.*the access log, or the program that it is piped to, takes no lines: too many wait/),
       'when there is no room for more, the error log says so');
    ok($c->works, 'and channels are served');
    ok(stalls('access'), 'and still no line has been read');
    go('access');
    ok($httpd->logs(qr/the access log takes lines again: (\d+) lines of channels are missing in it/), 'when it takes lines again it is said');
    my ($missing) = $httpd->log =~ /takes lines again: (\d+) lines/;
    cmp_ok($missing, '>', 0, 'how many are missing');
    ok(eval { wait_for('the other lines', sub { turn(0.02); $lines - $missing == (() = out('access') =~ /^RPC_/mg) }) },
       'exactly these, the others are there') || diag $missing, ' of ', $lines, ': ', scalar(() = out('access') =~ /^RPC_/mg);
    $c->close;
}

# ---- an error log, in the children and in the endpoint ----
{
    my $httpd = RPCH::Httpd->new(conf => 'ErrorLog ' . stalling('error') . "\nLogLevel warn rpcproxy:debug\n"
                                 . RPCH::Httpd->location)->start;
    my $c = client_of($httpd)->connect;
    my $through = client_of($httpd, target => "tcp.contoso.test:$tcp->{port}")->connect;
    my $begun = Time::HiRes::time();
    my $ping = rts('Ping');
    $c->in->put($ping x 1000);          # each writes a line: more bytes than a pipe holds
    ok($c->works, 'a channel that lives is served');
    for (1 .. 60) {                     # lines of the endpoint
        my $one = client_of($httpd, target => "tcp.contoso.test:$tcp->{port}")->connect;
        $one->close;
    }
    ok($through->works, 'and one through the endpoint');
    ok((my $new = client_of($httpd)->connect)->works, 'and new ones are opened');
    $new->close;
    ok($httpd->logs(qr/^alice "RPC_OUT_DATA .* (?:client|server)-closed$/m, 'access_log'), 'the access log goes on');
    $c->in->put($ping x 90_000);        # more lines than the module keeps
    ok($c->works, 'a client that causes more lines than are kept is served');
    turn(0.1) while Time::HiRes::time() < $begun + 1.5;
    ok(stalls('error'), 'while no line of the error log has been read');
    go('error');
    ok(eval { wait_for('the number', sub { turn(0.02); out('error') =~ /has not taken lines for a while: \d+ lines about channels had to be dropped/ }) },
       'when it takes lines again it says how many are missing');
    my ($missing) = out('error') =~ /a while: (\d+) lines/;
    ok(eval { wait_for('the other lines', sub { turn(0.02); 91_000 - $missing == (() = out('error') =~ /: Ping from the client/g) }) },
       'exactly these, the others are there') || diag $missing, ' + ', scalar(() = out('error') =~ /: Ping from the client/g);
    like(out('error'), qr/\[client 127\.0\.0\.1:\d+\] inbound channel in Opened: Ping/, 'they name the client');
    like(out('error'), qr/\(\d+ s ago\)$/m, 'a line that has waited says how long');
    $_->close for $c, $through;
}

# ---- reverse look-ups, and a stop while one hangs and a log is stalled ----
SKIP: {
    my $world = RPCH::Preload->new or skip 'no compiler', 10;
    $world->host('127.0.0.5', 'hang');
    $world->host('127.0.0.6', 'outlook.contoso.test');
    my $httpd = RPCH::Httpd->new(conf => "HostnameLookups On\nLogFormat \"%h %{c}h %m\" hosts\nCustomLog hosts_log hosts\n"
                                 . "LogFormat \"%m %{X-Long}i\" long\nCustomLog " . stalling('stop') . " long\n"
                                 . RPCH::Httpd->location('RpcMaxFailedTargets 0 1'));
    $world->start($httpd);
    my $c = client_of($httpd)->connect;
    client_of($httpd, from => '127.0.0.6')->connect->close;
    ok($httpd->logs(qr/^outlook\.contoso\.test outlook\.contoso\.test RPC_OUT_DATA$/m, 'hosts_log'), 'a name is logged');
    $world->shift_by(3600, 0);      # threads that wait for the name do not depend on the time of day
    client_of($httpd, from => '127.0.0.5')->connect->close;
    wait_for('the look-up', sub { turn(0.02); grep { $_ eq '127.0.0.5' } $world->asked });
    ok($c->works, 'a channel is served while a reverse look-up hangs');
    ok($httpd->logs(qr/^127\.0\.0\.5 127\.0\.0\.5 RPC_OUT_DATA$/m, 'hosts_log'), 'whose line has the address, and does not wait for it');
    client_of($httpd, from => '127.0.0.6')->connect->close;
    ok($httpd->logs(qr/^127\.0\.0\.6 127\.0\.0\.6 RPC_OUT_DATA$/m, 'hosts_log'), 'nor do the lines of others');

    refuse($httpd, 20, "X-Long: $long");
    $httpd->signal('TERM');
    ok(eval { $httpd->wait_gone }, 'httpd stops');
    my ($lost) = $httpd->log =~ /takes no lines: this child ends, and (\d+) lines of channels are lost/;
    cmp_ok($lost // 0, '>', 0, 'the child says how many lines are lost');
    unlike($httpd->log, qr/SIGKILL|exit signal/, 'and ends by itself');
    like($httpd->log, qr/channel to \S+ of user "alice" ended: shutdown/, 'the channel that lived has its line in the error log');
    ok(stalls('stop'), 'while the access log is stalled');
    go('stop');
    $c->close;
}

$_->close for $server, $tcp;
done_testing;
