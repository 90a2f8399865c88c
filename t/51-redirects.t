# Channels behind an internal redirect, where the handler serves a request that httpd has made of the
# client's request.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Needs qw(modules);
use RPCH::Poll qw(wait_for turn);
use RPCH::Test;

my $ROUNDS  = 12;
my $AT_ONCE = 5;

my $server = server(echo => 1);
my $modules = modules();
my $root = vars('serverroot');
mkdir "$root/htdocs/old";
my $httpd = RPCH::Httpd->new(mpm => 'event',
    limits => "ServerLimit 4\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\nAsyncRequestWorkerFactor 48\n",
    conf => RPCH::Httpd->location . <<"CONF")->start;
LoadModule rewrite_module $modules/mod_rewrite.so
<Directory $root/htdocs/old>
RewriteEngine On
RewriteRule ^rpcproxy.dll\$ /rpc/rpcproxy.dll
</Directory>
CONF

sub session { return plain(port => $httpd->{port}, path => '/old/rpcproxy.dll', target => $server->target) }

my @children = wait_for("the child beside the endpoint", sub { turn(0.02); my @pids = $httpd->children; @pids == 2 && \@pids })->@*;
my $good = 0;
for (1 .. $ROUNDS) {
    my @c = map { session() } 1 .. $AT_ONCE;
    for my $c (@c) { $c->open_in; $c->open_out; $c->send_a1->send_b1 }
    $good += grep { eval { $_->opened; $_->works } } @c;
    $_->close for @c;
}
is($good, $ROUNDS * $AT_ONCE, 'virtual connections behind a RewriteRule of a directory');
my $direct = plain(port => $httpd->{port}, target => $server->target)->connect;
my $c = session()->connect;
ok($_->works, 'one beside it that comes without a detour') for $direct, $c;
is_deeply([$httpd->children], \@children, 'no child has died');
$httpd->signal('USR1');
ok(eval { wait_for('another child', sub { turn(0.02); my %old = map { $_ => 1 } @children; grep { !$old{$_} } $httpd->children }) }, 'a graceful restart');
ok($_->works, 'both go on') for $direct, $c;
$_->close for $direct, $c;
my $lines = 2 * ($ROUNDS * $AT_ONCE + 2);
ok(eval { wait_for('lines', sub { turn(0.02); $lines == (() = $httpd->log('access_log') =~ /"RPC_(?:IN|OUT)_DATA \S+ HTTP\/1\.1" 200 .* (?:client|server)-closed$/mg) }) },
   'each has its line in the access log, with status and reason');
$server->close;
done_testing;
