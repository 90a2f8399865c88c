# impacket, Basic over https, calls a private Samba through the endpoint.

use strict;
use warnings;
use Test::More;
use RPCH::Manual;
use RPCH::Needs qw(needs);
use RPCH::Samba;
use RPCH::Test;

needs(qw(python3-impacket samba-common-bin));
my $samba = RPCH::Samba->start;
my %port = %{ $samba->{ports} };
my ($mark, $access) = (mark(), mark('access_log'));

my @proxy = ('https://127.0.0.1:' . vars('tlsport') . '/rpc/rpcproxy.dll', 'alice', 'secret');
my @rpc = (RPCH::Samba::user(), RPCH::Samba::PASSWORD, RPCH::Samba::DOMAIN, $samba->{address});
sub says {
    my ($what, $re, $name) = @_;
    my $text = $samba->python('imp_call.py', @proxy, @rpc, $what);
    return like($text, $re, $name);
}

SKIP: {
    skip 'no endpoint mapper: port 135 is for root', 1 if !$samba->has_mapper;
    says('epm:135:0', qr/^epm 0: ncacn_ip_tcp:\Q$samba->{address}\E\[$port{samr}\]$/, 'epmapper: where samr is');
}
says("mgmt:$port{samr}:0", qr/^mgmt 0: [1-9]\d* interfaces$/, 'mgmt: inq_if_ids');
says("samr:$port{samr}:$_", qr/^samr $_: Builtin RPCSRV$/, "samr: domains, authentication level $_") for 5, 6;
says("winreg:$port{winreg}:6", qr/^winreg 6: version \d+$/, 'winreg: HKLM');
accessed($access, qr/^RPCSRV\\\\?alice "RPC_OUT_DATA \S+\?\Q$samba->{address}\E:$port{winreg} HTTP\/1\.1" 200 /, 'the access log has the user');
like(RPCH::Manual::program(impacket => 'dc1[135]' => "$samba->{address}\[$port{samr}]", 'https://mail.example.com/rpc/rpcproxy.dll' => $proxy[0],
                           EXAMPLE => RPCH::Samba::DOMAIN), qr/^interfaces: [1-9]/, 'the program of the manual');

# What impacket reports for a wrong password and for a refused target
my $text = $samba->python('imp_call.py', $proxy[0], 'alice', 'wrong', @rpc, "mgmt:$port{samr}:0");
like($text, qr/401|auth/i, 'a wrong password');
$text = $samba->python('imp_call.py', @proxy, @rpc[0 .. 2], '127.0.0.9', 'mgmt:6002:0');
like($text, qr/RPC proxy .*6ba|6ba|0x6ba|SERVER_UNAVAILABLE/i, 'a target that is not allowed');
$text = $samba->python('imp_call.py', @proxy, @rpc[0 .. 2], '127.0.0.9', 'mgmt:6001:0');
like($text, qr/6ba|SERVER_UNAVAILABLE/i, 'a server that is not there');
logged($mark, qr/RPC_OUT_DATA channel to 127\.0\.0\.9:6001 .* ended: connect-failed/, 'as the log says');
not_logged($mark, qr/protocol-error|bad-pdu/, 'nothing that it sent was taken for an error');

done_testing;
