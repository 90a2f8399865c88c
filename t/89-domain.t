# The site conf/sites/samba.conf before a real Samba AD domain controller, which is made for this test, at the
# ports and names that the manual has: its endpoint mapper and interfaces, asked by impacket, Samba's own client
# and rpcping, as users of the file and, by NTLM, of the domain.

use strict;
use warnings;
use Digest::SHA qw(sha1_base64);
use Test::More;
use RPCH::Apart;
use RPCH::DC;
use RPCH::File qw(put);
use RPCH::Httpd;
use RPCH::Manual;
use RPCH::Needs qw(needs);
use RPCH::Samba;
use RPCH::Test;

use constant PASSWORD => 'Secret.1';

RPCH::Apart::enter();
needs('python3-impacket', RPCH::DC::PACKAGES);
my $root = vars('serverroot');
my $build = build_dir();
my ($crt, $key, $users) = map { "$root/$_" } qw(domain.crt domain.key domain.users);
qx(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=mail.example.com -addext subjectAltName=DNS:mail.example.com -keyout $key -out $crt 2>&1);
put($users, map { "$_:{SHA}" . sha1_base64(PASSWORD) . "=\n" } 'alice', 'ADTEST\\alice');
put("$root/hosts", "127.0.0.1 localhost mail.example.com\n" . vars('sambaaddress') . " dc1 dc1.example.com\n");
RPCH::Apart::put_at("$root/hosts", '/etc/hosts');

my $dc = RPCH::DC->start({ name => 'alice', password => PASSWORD });
$dc->client_conf($crt);
my @site = ('samba.conf', SAMBA_NAME => 'mail.example.com', SAMBA_CERTIFICATE => $crt, SAMBA_KEY => $key, SAMBA_USERS => $users);
sub conf { return "Listen 127.0.0.1:443\n" . RPCH::Httpd->site(@site, @_) }
my $httpd = RPCH::Httpd->new(mpm => 'event', limits => '', conf => conf())->start;
is(($httpd->configtest)[1], "Syntax OK\n", 'configtest has nothing to say');

sub rpcping {
    my ($args, $re, $name, $target) = @_;
    $target //= 'dc1:135';
    local @ENV{qw(RPCPING_PASSWORD LD_PRELOAD)} = (PASSWORD, '');
    my $said = qx($build/rpcping -t 60 $args --cacert $crt https://mail.example.com $target 2>&1);
    return like($said, $re, "rpcping: $name") || diag $httpd->log;
}
sub impacket {
    my ($http, $what) = @_;
    return $dc->python('imp_call.py', @$http, 'https://mail.example.com/rpc/rpcproxy.dll', ('alice', PASSWORD) x 2, 'ADTEST', 'dc1', @$what);
}
sub samba {
    my ($http, $what) = @_;
    return $dc->python('s4_call.py', @$http, "$dc->{dir}/client.conf", '127.0.0.1:443', 'alice', PASSWORD, 'ADTEST', 'dc1', @$what);
}
my $ALL = join '.*', map { qr/^  $_ +ok/m } 'TLS', 'authentication', 'virtual connection', 'bind', 'call';

# ---- users of the file, by Basic ----

rpcping('-u alice', qr/$ALL/s, 'all layers, at the endpoint mapper');
my %port;
@port{qw(samr drsuapi)} = impacket([], ['epm:135:0', 'epm_drsuapi:135:0']) =~ /: ncacn_ip_tcp:dc1\[(\d+)\]$/mg;
ok(2 == grep({ $_ && $_ >= 49152 } values %port), 'impacket: the endpoint mapper says where the interfaces are: at ports that the site allows')
    or die "without ports there is nothing to try\n";
is(impacket([], ["samr:$port{samr}:6"]), "samr 6: ADTEST BUILTIN\n", 'impacket: samr');
is(samba([], ["samr:$port{samr}:seal", "drsuapi:$port{drsuapi}:seal"]), "samr seal: ADTEST BUILTIN\ndrsuapi seal: ADDC\n", "Samba's client: samr, and drsuapi");
rpcping('-u alice -I winreg', qr/winreg 1\.0 is rejected/, 'winreg, which is not published', "dc1:$port{drsuapi}");
ok($httpd->logs(qr/bind to winreg .* refused: interface-refused/), 'it is this proxy that refuses it');
my %here = (EXAMPLE => 'ADTEST', secret => PASSWORD);
like(RPCH::Manual::program(impacket => %here), qr/^interfaces: [1-9]/, 'the program of the manual, impacket');
like(RPCH::Manual::program(Samba => %here, '203.0.113.5' => '127.0.0.1', '/etc/samba/smb.conf' => "$dc->{dir}/client.conf"), qr/^interfaces: [1-9]/, 'the program of the manual, Samba');
my $rpcclient = "timeout 60 rpcclient -s $dc->{dir}/client.conf -U 'ADTEST\\alice%" . PASSWORD . q(' -c enumdomusers);
like(scalar qx($rpcclient 'ncacn_ip_tcp:dc1[seal]' 2>&1), qr/^user:\[alice\]/m, 'rpcclient finds the controller without a proxy');
like(scalar qx($rpcclient 'ncacn_http:dc1[135,RpcProxy=127.0.0.1:443]' 2>&1), qr/NT_STATUS_NOT_IMPLEMENTED/, 'and knows no RPC over HTTP, as the manual says');
rpcping('-u bob', qr/^  authentication +FAILED/m, 'who is not in the file');

# ---- users of the domain, by NTLM ----

$httpd->restart(conf(SAMBA_NTLM => 'winbind'));
rpcping(q(-a ntlm -u 'ADTEST\\alice'), qr/$ALL/s, 'all layers, by NTLM');
is(impacket(['--http=ntlm'], ["samr:$port{samr}:6"]), "samr 6: ADTEST BUILTIN\n", 'impacket, by NTLM');
is(samba(['--http=negotiate'], ["samr:$port{samr}:seal"]), "samr seal: ADTEST BUILTIN\n", "Samba's client, by NTLM that it calls Negotiate");
rpcping(q(-a ntlm -u 'ADTEST\\bob'), qr/^  authentication +FAILED/m, 'who is not in the domain');
is(join(' ', sort keys %{ { map { $_ => 1 } $httpd->log('access_log') =~ /^(\S+) "RPC_OUT_DATA \S+ HTTP\/1\.\d" 200 /mg } }), 'ADTEST\\\\alice alice',
   'the access log has the users');
unlike($httpd->log, qr/protocol-error|bad-pdu/, 'nothing that they sent was taken for an error');

done_testing;
