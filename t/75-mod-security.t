# mod_security with Debian's recommended rules and the OWASP core rule set, as the packages set it up.
# It reads bodies before any handler. And a module that has read a part of the body before this module
# could prevent it.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(slurp put);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(modules needs);
use RPCH::Root;
use RPCH::Test;

my $modules = modules();
my ($recommended, $crs) = ('/etc/modsecurity/modsecurity.conf-recommended', '/usr/share/modsecurity-crs/owasp-crs.load');
needs(qw(mod_unique_id.so mod_security2.so mod_perl.so), $recommended, $crs);

my $RPC = '/rpc/rpcproxy.dll';
my $server = server(echo => 1);
my $users = vars('serverroot') . '/conf/users';
my $httpd = RPCH::Httpd->new;
my %port = map { $_ => RPCH::Root::free_ports(1) } qw(detection blocking rules cured reader);

sub top { require Cwd; return Cwd::getcwd() }

# The files of the packages, except for the folders that they write to.
my $rules = slurp($recommended);
$rules =~ s{^(SecAuditLog|SecTmpDir|SecDataDir) .*}{$1 eq 'SecAuditLog' ? "$1 $httpd->{dir}/audit" : "$1 $httpd->{dir}"}mge;
$rules =~ s{^(SecUnicodeMapFile) (\S+)}{$1 /etc/modsecurity/$2}m;
put("$httpd->{dir}/recommended.conf", $rules);
put("$httpd->{dir}/Reader.pm", <<'PERL');
package Reader;
use Apache2::RequestRec ();
use Apache2::RequestIO ();
sub handler { my ($r) = @_; $r->read(my $some, 20); return 0 }
1;
PERL
my ($cure) = slurp(top() . '/conf/rpcproxy.conf') =~ /^(<IfModule security2_module>.*?^<\/IfModule>)/ms;

my %host = (
    detection => '',
    blocking  => 'SecRuleEngine On',
    rules     => "SecRuleEngine On\nInclude $crs",
    cured     => "SecRuleEngine On\nInclude $crs\n$cure",
    reader    => "SecRuleEngine Off\nPerlHeaderParserHandler Reader",
);
$httpd->configure(join '', <<"CONF",
LoadModule unique_id_module $modules/mod_unique_id.so
LoadModule security2_module $modules/mod_security2.so
LoadModule perl_module $modules/mod_perl.so
PerlSwitches -I$httpd->{dir}
Include $httpd->{dir}/recommended.conf
CONF
    RPCH::Httpd->location,
    map { "Listen 127.0.0.1:$port{$_}\n<VirtualHost 127.0.0.1:$port{$_}>\nServerName localhost\n$host{$_}\n</VirtualHost>\n" } sort keys %host);
$httpd->start;

sub channel { my ($name) = @_; return plain(port => $port{$name}, target => $server->target) }
sub since { my ($mark) = @_; return substr $httpd->log, $mark }

for (['detection', 'as it is recommended: DetectionOnly'], ['blocking', 'blocking'], ['cured', 'blocking, with the core rule set and the rule of conf/rpcproxy.conf']) {
    my ($name, $what) = @$_;
    my $mark = length $httpd->log;
    ok(channel($name)->serves, "$what: a virtual connection") or diag since($mark);
    unlike(since($mark), qr/rpcproxy:warn/, 'without a word of ours at warn') if $name eq 'cured';
}
like($httpd->log, qr/rpcproxy:info\].* RPC_IN_DATA: another module reads the request's body and gets an empty one/, 'the log says what mod_security sees');

# When mod_security answers a request itself, the log names the remedy.
sub answered {
    my ($name, $method, $length, $status) = @_;
    my $mark = length $httpd->log;
    my $http = RPCH::HTTP->dial(port => $port{$name}, name => $name)
        ->request($method, "$RPC?" . $server->target, user => 'alice', password => 'secret', length => $length);
    is(eval { $http->head->{status} }, $status, "$name: $method of $length bytes: $status");
    ok($httpd->logs(qr/rpcproxy:warn\].* \Q$method\E refused: other-module: another module has answered $status before mod_rpcproxy\. If it is mod_security, put the SecRule of conf\/rpcproxy\.conf .* user "alice", client 127\.0\.0\.1, target \Q@{[ $server->target ]}\E$/m),
        'the log names the cure') or diag since($mark);
    ok($httpd->logs(qr/"\Q$method\E \S+ HTTP\/1\.1" $status .* other-module$/m, 'access_log'), 'and RPC_REASON says so');
    return ok(eval { $http->wait_eof }, 'the body is not waited for');
}
answered('rules', 'RPC_OUT_DATA', 76, 403);

# A part of the body has been read before this module could prevent it
{
    my $c = channel('reader');
    $c->open_out;
    $c->send_a1;
    is_rpc_error($c->out, '6ba', 'a body of which another module has read the beginning');
    ok($httpd->logs(qr/rpcproxy:warn\].* RPC_OUT_DATA refused: other-module: another module has read 20 bytes of the body before mod_rpcproxy\. .* user "alice"/),
        'answered at once, and the log says why');
    $c->close;
}
unlike($httpd->log, qr/exit signal|rpcproxy:(?:crit|alert|emerg)\]/, 'no child has died');
$server->close;
done_testing;
