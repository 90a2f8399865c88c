# Where the lines of a channel go, and which: its request has a virtual host and a section, whose ErrorLog, LogLevel,
# ErrorLogFormat and CustomLog hold for every line, also for those that come when the request has long gone.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put);
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::Test;

plan(skip_all => 'a child has all channels here, so that the order of lines is known') if vars('mpm') eq 'prefork';
my $server = server(echo => 1);
my $closed = refused_port();
my $httpd = RPCH::Httpd->new(limits => "ServerLimit 1\nStartServers 1\nThreadsPerChild 10\nMaxRequestWorkers 10\n");
put("$httpd->{dir}/pipe.pl", '$SIG{TERM} = "IGNORE"; open F, ">>", $ARGV[0] or die; while (sysread STDIN, $bytes, 65536) { syswrite F, $bytes }');

my %host = (
    quiet   => "LogLevel rpcproxy:error\nErrorLog quiet_log",
    warn    => "LogLevel debug rpcproxy:warn\nErrorLog \"|$^X $httpd->{dir}/pipe.pl $httpd->{dir}/warn_log\"",
    info    => "LogLevel warn rpcproxy:info\nErrorLog info_log\nErrorLogFormat \"INFO %-m:%l %M on %v\"",
    debug   => "LogLevel error rpcproxy:debug\nErrorLog debug_log\nErrorLogFormat \"%l of %{c}L: %M\"",
    section => "LogLevel error\nErrorLog section_log\n<Location /rpc>\nLogLevel rpcproxy:info\n</Location>",
    hushed  => "LogLevel debug\nErrorLog hushed_log\n<Location /rpc>\nLogLevel rpcproxy:warn\n</Location>",
    heir    => "LogLevel rpcproxy:info",
);
my %port = map { $_ => RPCH::Root::free_ports(1) } keys %host;
# Which levels a log has lines of, and that they have the right form.
my %says = (quiet => '', warn => 'warn', info => 'info warn', debug => 'debug info warn', section => 'info warn', hushed => 'warn');
$httpd->configure("BufferedLogs On\nGlobalLog global_log \"%v %{RPC_REASON}e\"\n" . RPCH::Httpd->location . join '', map { <<"CONF" } sort keys %host)->start;
Listen 127.0.0.1:$port{$_}
<VirtualHost 127.0.0.1:$port{$_}>
ServerName $_.test
CustomLog ${_}_ends "%{RPC_REASON}e"
CustomLog ${_}_in "%m" "expr=%{REQUEST_METHOD} == 'RPC_IN_DATA'"
CustomLog "|$^X $httpd->{dir}/pipe.pl $httpd->{dir}/${_}_pipe" "%v" env=RPC_BACKEND
$host{$_}
</VirtualHost>
CONF

# A virtual connection that ends in order, and a channel that fails.
sub ends_and_fails {
    my ($port) = @_;
    my $c = plain(port => $port, target => $server->target);
    my $works = $c->serves;
    $c = plain(port => $port, target => "127.0.0.1:$closed");
    $c->open_out;
    $c->send_a1;
    $c->out->wait_eof;
    $c->close;
    return $works;
}
is(scalar(grep { ends_and_fails($port{$_}) } sort keys %port), keys %port, 'virtual connections of all hosts');
# Lines are written in their order, so behind those of this channel there are no more
my $lines = sub { scalar(() = $httpd->log =~ /\[rpcproxy:info\].* virtual connection ended: /g) };
wait_for('all ends', sub { turn(0.02); $server->connections == 2 * keys %port && $lines->() == 2 });    # of the heir
ok(ends_and_fails($httpd->{port}), 'and of the main server');
ok($httpd->logs(qr/\[rpcproxy:debug\].* RPC_OUT_DATA channel .* ended: (?:client|server)-closed.*\[rpcproxy:warn\].* ended: connect-failed.*\[rpcproxy:info\].*virtual connection ended/s), 'which logs at debug');

my %pattern = (info => qr/ended: client-closed/, debug => qr/RPC_IN_DATA channel .* ended: client-closed/, warn => qr/ended: connect-failed/);
for my $name (sort keys %says) {
    ok($httpd->logs(qr/ended: connect-failed/, "${name}_log"), "$name: the failure is logged") if $says{$name};
    my $log = $httpd->log("${name}_log");
    my %levels = map { $_ => 1 } $log =~ /(?:rpcproxy:|^)(debug|info|warn)(?:\]| of | RPC)/mg;
    is(join(' ', sort keys %levels), $says{$name}, "$name: what LogLevel says") or diag $log;
    is(scalar(() = $log =~ /ended: connect-failed/g), $says{$name} =~ /warn/ ? 1 : 0, "$name: once");
}
like($httpd->log('info_log'), qr/^INFO rpcproxy:info RPC0003: virtual connection ended: .* on info\.test$/m, 'ErrorLogFormat of the host');
like($httpd->log('debug_log'), qr/^debug of \S{5,}: RPC0002: RPC_IN_DATA channel .* ended: client-closed/m, 'of another');
is(scalar(() = $httpd->log =~ /ended: connect-failed/g), 2, 'the log of the main server has its own lines, and the heir\'s');

# The rest of buffered logs is written at the end
$httpd->signal('TERM');
ok($httpd->wait_gone, 'a stop');
for my $name (sort keys %port) {
    is(scalar(() = $httpd->log("${name}_ends") =~ /^/mg), 3, "$name: CustomLog has a line of each channel");
    is($httpd->log("${name}_in"), "RPC_IN_DATA\n", "$name: another one those of its condition");
    ok($httpd->logs(qr/\A(?:\Q$name\E\.test\n){2}\z/, "${name}_pipe"), "$name: and a program those of another condition");
}
is(scalar(() = $httpd->log('global_log') =~ /^/mg), 3 * (1 + keys %port), 'GlobalLog has all');
$server->close;
done_testing;
