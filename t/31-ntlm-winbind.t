# NTLM by a private winbindd: which users are accepted, under which name, and what happens when winbindd
# does not answer. The client is curl.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Test;
use RPCH::Winbind;

RPCH::Winbind::need();

my $winbind = RPCH::Winbind->new;
my %env = $winbind->environment;
my $file = vars('serverroot') . "/smbpasswd-$$";
{
    # dave is only in the file; alice is in both, with another password in the file
    open my $fh, '>', $file or die "$file: $!\n";
    print $fh "$_:1:" . 'X' x 32 . ":77E2ECB23C9565F1685608016EBEA9B8:[U          ]:LCT-6523A000:\n" for qw(dave alice);
    close $fh;
}

sub section {
    my ($path, $text) = @_;
    return "<Location $path>\nAuthType NTLM\nAuthName x\nRequire valid-user\n$text\n</Location>\n";
}
# No document exists, so 404 means that the user was accepted
my $server = RPCH::Httpd->new(conf => "KeepAlive On\nLogLevel auth_ntlm:debug\n"
    . section('/domain', 'AuthNtlmProvider winbind')
    . section('/short', "AuthNtlmProvider winbind\nAuthNtlmOmitDomain On")
    . section('/both', "AuthNtlmProvider file winbind\nAuthNtlmUserFile $file")
    . "<Location /bob>\nAuthType NTLM\nAuthName x\nAuthNtlmProvider winbind\nRequire user RPCSRV\\\\bob\n</Location>\n");
{
    local %ENV = (%ENV, %env);
    $server->start;
}

# The library of a sanitizer is preloaded for httpd only, because curl hangs with it.
sub without_preload { return map { $_ => $ENV{$_} } grep { $_ ne 'LD_PRELOAD' } keys %ENV }

# The status of curl's last answer.
my $mark = 0;
sub login {
    my ($path, $user) = @_;
    $mark = length file_of('error_log');
    local %ENV = without_preload();
    return qx(curl -s -o /dev/null -w '%{http_code}' --ntlm -u '$user' http://127.0.0.1:$server->{port}$path);
}

sub file_of { my ($name) = @_; open my $fh, '<', "$server->{dir}/$name" or return ''; local $/; return <$fh> // '' }
# The lines of the log since the last login.
sub server_logged {
    my ($text, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(eval { wait_for($name, sub { substr(file_of('error_log'), $mark) =~ $text || turn(0.02) && 0 }) }, $name) || diag file_of('error_log');
}

is(login('/domain', 'alice:secret'), 500, 'no winbindd');
server_logged(qr/cannot connect to winbind: .*: does winbindd run/, 'the log asks whether it runs');

$winbind->start;
is(login('/domain', 'alice:secret'), 404, 'let in, without a restart');
ok($server->logs(qr{RPCSRV\\+alice "GET /domain}, 'access_log'), 'under her name as winbind writes it');
is(login('/domain', 'ALICE:secret'), 404, 'in any case');
is(login('/short', 'alice:secret'), 404, 'AuthNtlmOmitDomain');
ok($server->logs(qr{^alice "GET /short}m, 'access_log'), 'is without the domain');
is(login('/domain', 'RPCSRV\\alice:secret'), 404, 'with the domain typed');
is(login('/domain', 'alice:wrong'), 401, 'wrong password');
server_logged(qr/NTLM user "alice": winbind answers NT_STATUS_WRONG_PASSWORD/, 'as the log says');
is(login('/domain', 'nobody7:secret'), 401, 'an unknown user');
server_logged(qr/NTLM user "nobody7": winbind answers NT_STATUS_NO_SUCH_USER/, 'as the log says');
is(login('/domain', 'carol:secret'), 401, 'a disabled user');
server_logged(qr/NTLM user "carol": winbind answers NT_STATUS_ACCOUNT_DISABLED/, 'as the log says');
is(login('/domain', 'ELSEWHERE\\alice:secret'), 500, 'a domain that winbind cannot ask');
server_logged(qr/winbind cannot check user "alice" of domain "ELSEWHERE": NT_STATUS_NO_LOGON_SERVERS/, 'the log says which');
is(login('/domain', 'x' x 260 . ':secret'), 401, 'a name that libwbclient would cut');
server_logged(qr/NTLM user "x+": a name is too long for winbind/, 'is not asked for');
is(login('/bob', 'bob:hidden'), 404, 'Require user');
is(login('/bob', 'alice:secret'), 401, 'lets nobody else in');

is(login('/both', 'dave:hidden'), 404, 'file, then winbind: one of the file');
is(login('/both', 'bob:hidden'), 404, 'one whom only winbind knows');
is(login('/both', 'alice:hidden'), 404, 'one whom both know has the password of the file');
is(login('/both', 'alice:secret'), 401, 'and no other');

{
    my ($child) = $server->children;
    my $open = sub { scalar(() = glob "/proc/$child/fd/*") };
    my $before = $open->();
    local %ENV = without_preload();
    my $out = qx(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        curl -s -o /dev/null -w '%{http_code} ' --ntlm -u alice:secret http://127.0.0.1:$server->{port}/domain & done; wait);
    is_deeply([split ' ', $out], [(404) x 20], 'twenty at once');
    is(login('/domain', 'alice:secret'), 404, 'and one more');
    # One connection to winbindd for each worker thread at most
    cmp_ok($open->() - $before, '<=', 25, 'no descriptors left behind');
}

$winbind->stop;
$winbind->start;
$winbind->open_to_httpd(0);
is(login('/domain', 'alice:secret'), 500, 'the privileged socket is out of reach');
server_logged(qr/cannot connect to winbind.*winbindd_priv/, 'the log names the group');
$winbind->open_to_httpd(1);
$winbind->stop;
is(login('/domain', 'alice:secret'), 500, 'winbindd is gone again');
$winbind->start;
is(login('/domain', 'alice:secret'), 404, 'and back');
done_testing;
