# What has changed between a channel's begin and its line in the access log: the program that a log is piped to has
# died and been replaced, and the client with its certificate has gone.

use strict;
use warnings;
use IO::Socket::SSL ();
use Test::More;
use RPCH::CA;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my $root = vars('serverroot');
my $server = server(echo => 1);
my $ca = RPCH::CA->new('Staff');

# The program says who it is, and then writes what it reads.
my $httpd = RPCH::Httpd->new;
my $dir = $httpd->{dir};
put("$dir/piped.pl", "open F, '>>', '$dir/piped' or die \$!; syswrite F, qq(program \$\$\\n); syswrite F, \$_ while <STDIN>;\n");
my $port = RPCH::Root::free_ports(1);
$httpd->configure(<<"CONF" . RPCH::Httpd->location)->start;
LogFormat "%{SSL_CLIENT_S_DN}x|%{SSL_CLIENT_S_DN_CN}x|%{SSL_CLIENT_VERIFY}x|%{SSL_CLIENT_M_SERIAL}x|%{subjectdn}c|%m|%{RPC_REASON}e" person
CustomLog $dir/persons person
CustomLog $dir/alices person "expr=%{SSL_CLIENT_S_DN_CN} == 'alice'"
CustomLog $dir/others person "expr=%{SSL_CLIENT_S_DN_CN} != 'alice'"
CustomLog "|$^X $dir/piped.pl" person
Listen 127.0.0.1:$port
<VirtualHost 127.0.0.1:$port>
    ServerName localhost
    @{[ RPCH::Httpd->tls_lines ]}
    SSLCACertificateFile @{[ $ca->certificate ]}
    SSLVerifyClient require
</VirtualHost>
CONF

sub lines { my ($name) = @_; return -e "$dir/$name" ? split(/\n/, slurp("$dir/$name")) : () }
sub programs { return map { /^program (\d+)$/ ? $1 : () } lines('piped') }

my $tls = { SSL_ca_file => "$root/conf/server.crt", SSL_hostname => 'localhost', %{ $ca->person('alice') } };
my $c = client(port => $port, tls => $tls, target => $server->target)->connect;
my $p = rpc_parse($c->call(request_pdu(1, 'works')));
is($p->{stub}, 'works', "channels with a client's certificate");
my ($program) = (programs())[-1];
kill KILL => $program;
ok(eval { wait_for('another program', sub { turn(0.02); ((programs())[-1] // 0) != $program }) }, "httpd replaces the program of a log");
$c->close;
ok(eval { wait_for('lines', sub { turn(0.02); 2 == grep { /\|RPC_/ } lines('persons') }) }, "each channel has its line");
my @persons = grep { /\|RPC_/ } lines('persons');
is(scalar(grep { /^CN=alice,O=Contoso\|alice\|SUCCESS\|[0-9A-F]+\|CN=alice,O=Contoso\|RPC_(?:IN|OUT)_DATA\|(?:client|server)-closed$/ } @persons), 2,
   "with the person of the certificate") or diag "@persons";
is_deeply([sort grep { /\|RPC_/ } lines('alices')], [sort @persons], "also by a condition");
is(scalar(grep { /\|RPC_/ } lines('others')), 0, "that holds");
ok(eval { wait_for('lines', sub { turn(0.02); 2 == grep { /\|RPC_/ } lines('piped') }) }, "the new program has them, too");

$server->close;
done_testing;
