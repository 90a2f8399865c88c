# Samba's own client, HTTP/1.0 with Basic over TLS, calls a private Samba through the endpoint.

use strict;
use warnings;
use Test::More;
use RPCH::Manual;
use RPCH::Needs qw(needs);
use RPCH::Samba;
use RPCH::Test;

needs(qw(python3-samba samba-common-bin));
my $samba = RPCH::Samba->start;
my %port = %{ $samba->{ports} };
my ($mark, $access) = (mark(), mark('access_log'));

my @args = ("$samba->{dir}/client.conf", '127.0.0.1:' . vars('tlsport'), RPCH::Samba::user(), RPCH::Samba::PASSWORD,
            RPCH::Samba::DOMAIN, $samba->{address});
sub says {
    my ($what, $re, $name) = @_;
    my $text = $samba->python('s4_call.py', @args, $what);
    return like($text, $re, $name);
}

says("mgmt:$port{samr}:$_", qr/^mgmt $_: [1-9]\d* interfaces$/m, "mgmt: inq_if_ids $_") for '', 'seal';
says("samr:$port{samr}:$_", qr/^samr $_: Builtin RPCSRV$/m, "samr: domains, $_") for qw(connect sign seal);
says("winreg:$port{winreg}:$_", qr/^winreg $_: version \d+$/m, "winreg: HKLM, $_") for qw(sign seal);
accessed($access, qr/"RPC_OUT_DATA \S+\?\Q$samba->{address}\E:$port{winreg} HTTP\/1\.0" 200 /, 'it speaks HTTP/1.0');
like(RPCH::Manual::program(Samba => 'dc1[135,RpcProxy=203.0.113.5:443' => "$samba->{address}\[$port{samr},RpcProxy=$args[1]", '/etc/samba/smb.conf' => $args[0],
                           EXAMPLE => RPCH::Samba::DOMAIN, alice => RPCH::Samba::user(), secret => RPCH::Samba::PASSWORD), qr/^interfaces: [1-9]/m, 'the program of the manual');

my @wrong = @args;
$wrong[3] = 'wrong';
like($samba->python('s4_call.py', @wrong, "mgmt:$port{samr}:"), qr/LOGON_FAILURE|ACCESS_DENIED|UNSUCCESSFUL|CONNECTION|NTSTATUS/i, 'a wrong password');
@wrong = @args;
$wrong[5] = '127.0.0.9';
like($samba->python('s4_call.py', @wrong, 'mgmt:6002:'), qr/NTSTATUS|NT_STATUS/, 'a target that is not allowed');
logged($mark, qr/RPC_OUT_DATA channel to \S+:$port{winreg} .* ended: /, 'the channels have ended');
not_logged($mark, qr/protocol-error|bad-pdu/, 'nothing that it sent was taken for an error');

done_testing;
