# The RPC firewall between real partners: impacket and Samba's client, and a Samba server behind the
# endpoint. The refusal comes from the server itself, so clients understand it.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Needs qw(needs);
use RPCH::Samba;
use RPCH::Test;

needs(qw(python3-impacket python3-samba samba-common-bin));
my $samba = RPCH::Samba->start;
my %port = %{ $samba->{ports} };
my ($user, $password) = (RPCH::Samba::user(), RPCH::Samba::PASSWORD);
my $users = vars('serverroot') . '/conf/users';

my $httpd;
sub configured {
    my ($conf) = @_;
    undef $httpd;
    $httpd = RPCH::Httpd->new(conf => <<"CONF")->start;
<Location /rpc/>
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthBasicProvider file
AuthUserFile $users
Require valid-user
RpcRequireTLS off
RpcValidPorts $samba->{address}:1024-65535
RpcBackend $samba->{address} ncacn_ip_tcp:$samba->{address}
RpcValidPorts dc:49152-49153
RpcBackend dc:49152 ncacn_ip_tcp:$samba->{address}\[$port{samr}]
RpcBackend dc:49153 ncacn_ip_tcp:$samba->{address}\[$port{winreg}]
$conf
</Location>
CONF
    return;
}
sub impacket {
    my ($what, $re, $name, $host) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return like($samba->python('imp_call.py', "http://127.0.0.1:$httpd->{port}/rpc/rpcproxy.dll", 'alice', 'secret',
                               $user, $password, '', $host // $samba->{address}, $what), $re, "impacket: $name");
}
sub s4 {
    my ($what, $re, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return like($samba->python('s4_call.py', '--plain', "$samba->{dir}/client.conf", "127.0.0.1:$httpd->{port}", $user, $password,
                               RPCH::Samba::DOMAIN, $samba->{address}, $what), $re, "Samba: $name");
}
sub says { my ($re, $name) = @_; return ok($httpd->logs($re), $name) || diag $httpd->log }

sub rpcping {
    my ($interface, $target, $re, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return like(scalar qx(build/rpcping -u alice:secret --path=/rpc/rpcproxy.dll -I $interface http://127.0.0.1:$httpd->{port} $target 2>&1), $re, "rpcping: $name");
}

# What clients say of a provider rejection: abstract syntax not supported
my $IMPACKET = qr/provider_rejection; abstract_syntax_not_supported/;
my $S4 = qr/RPC_UNSUPPORTED_NAME_SYNTAX|name syntax is not supported/;

configured('');
impacket("alter:$port{samr}:6", qr/^alter 6: lsarpc granted; Builtin RPCSRV$/m, 'without rules, a second interface');
s4("alter:$port{samr}:seal", qr/^alter seal: lsarpc granted; Builtin RPCSRV$/m, 'without rules, a second interface');

configured("RpcAllowInterfaces 1024-65535 samr");
for my $level (0, 2, 5, 6) {
    impacket("winreg:$port{winreg}:$level", $IMPACKET, "winreg is refused, level $level");
    next if $level < 5;         # calls of this client at level connect fail at Samba without the firewall, too
    impacket("samr:$port{samr}:$level", qr/^samr $level: Builtin RPCSRV$/m, "samr is not, level $level");
}
s4("winreg:$port{winreg}:$_", $S4, "winreg is refused, $_") for qw(sign seal);
s4("samr:$port{samr}:$_", qr/^samr $_: Builtin RPCSRV$/m, "samr is not, $_") for qw(connect sign seal);
says(qr/of user "alice": bind to winreg \(338cd001-\S+\@1\.0\).* refused: interface-refused: nearest rule is RpcAllowInterfaces 1024-65535 samr/, 'the log');
impacket("alter:$port{samr}:6", qr/^alter 6: lsarpc refused: .*$IMPACKET.*; Builtin RPCSRV$/m, 'a second interface is refused, the first goes on');
s4("alter:$port{samr}:seal", qr/^alter seal: lsarpc refused: .*$S4.*; Builtin RPCSRV$/m, 'a second interface is refused, the first goes on');
says(qr/alter_context to lsarpc .* refused: interface-refused/, 'the log');
unlike($httpd->log, qr/protocol-error|bad-pdu|level-refused/, 'nothing else is refused');
rpcping(samr => "$samba->{address}:$port{samr}", qr/bind +ok +.* samr 1\.0, .*mgmt 1\.0 is refused by the proxy's firewall/, 'mgmt is refused, samr is not');

for my $case ([connect => 2], [integrity => 5], [privacy => 6]) {
    my ($least, $number) = @$case;
    configured("RpcMinAuthLevel $least");
    impacket("mgmt:$port{samr}:0", $IMPACKET, "at least $least: no authentication");
    for my $level ($least eq 'connect' ? () : 2, 5, 6) {
        impacket("samr:$port{samr}:$level", $level >= $number ? qr/^samr $level: Builtin RPCSRV$/m : $IMPACKET, "at least $least: level $level");
    }
    my %s4 = (connect => 2, sign => 5, seal => 6);
    s4("samr:$port{samr}:$_", $s4{$_} >= $number ? qr/^samr $_: Builtin RPCSRV$/m : qr/NT_STATUS|NTSTATUS/, "at least $least: $_") for sort keys %s4;
    s4("alter:$port{samr}:seal", qr/^alter seal: lsarpc granted; Builtin RPCSRV$/m, 'a second interface in the same security context');
    says(qr/bind to mgmt .* refused: level-refused: no authentication: none, RpcMinAuthLevel is $least/, 'the log');
}

configured('RpcProfile samba');
impacket('samr:49152:6', qr/^samr 6: Builtin RPCSRV$/m, 'RpcProfile samba: samr', 'dc');
impacket('mgmt:49152:0', qr/^mgmt 0: [1-9]\d* interfaces$/m, 'RpcProfile samba: mgmt', 'dc');
impacket('winreg:49153:6', $IMPACKET, 'RpcProfile samba: not winreg', 'dc');
rpcping(winreg => 'dc:49153', qr/bind +FAILED.*winreg 1\.0 is refused by the proxy's firewall.*the server lists it/s, 'winreg is refused, the server has it');
rpcping(nspi => 'dc:49153', qr/bind +FAILED.*nspi 56\.0 is rejected: the server does not offer it/s, 'the server has no nspi');
configured('RpcProfile none');
impacket('winreg:49153:6', qr/^winreg 6: version \d+$/m, 'RpcProfile none: winreg', 'dc');

done_testing;
