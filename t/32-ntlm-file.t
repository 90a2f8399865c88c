# AuthNtlmUserFile: which accounts of smbpasswd are accepted, and how a change takes effect. The client
# is curl.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Test;

my %NT_HASH = (secret => '878D8014606CDA29677A44EFA1353FC7', hidden => '77E2ECB23C9565F1685608016EBEA9B8');
my $file = vars('serverroot') . "/users-$$";

sub account {
    my ($name, $password, $flags) = @_;
    return sprintf "%s:1000:%s:%s:[%-11s]:LCT-6523A000:\n", $name, 'X' x 32, $NT_HASH{$password} // $password, $flags // 'U';
}
# Writes into the same file, as editors and the tools of Samba do.
sub put {
    my ($text) = @_;
    open my $fh, -e $file ? '+<' : '>', $file or die "$file: $!\n";
    truncate $fh, 0;
    print $fh $text;
    close $fh or die "$file: $!\n";
    return;
}

my %barred = (locked => ['secret', 'UL'], disabled => ['secret', 'DU'], none => ['secret', 'NU'], 'host$' => ['secret', 'W'], 'dc$' => ['secret', 'S'],
              'trust$' => ['secret', 'I'], empty => ['NO PASSWORD' . 'X' x 21], hashless => ['X' x 32]);
my $all = "# users\n" . account(alice => 'secret') . join '', map { account($_, @{ $barred{$_} }) } sort keys %barred;
put($all);
chmod 0644, $file;
my $server = RPCH::Httpd->new(conf => "LogLevel auth_ntlm:debug\n<Location />\nAuthType NTLM\nAuthName x\n"
    . "AuthNtlmProvider file\nAuthNtlmUserFile $file\nRequire valid-user\n</Location>\n");

like(($server->configtest)[1], qr/every user can read AuthNtlmUserFile \S+, and .*chmod o-rwx/, 'configtest: for everybody to read');
chmod 0640, $file;
chown 0, scalar getgrnam(vars('group')), $file if $> == 0;
unlike(($server->configtest)[1], qr/may be read/, 'configtest: for the group of httpd');
my $mtime = (stat $file)[9];
utime $mtime, $mtime, $file;    # whole seconds, so that the time can be set to the same value again
$server->start;

# The status of curl's last answer. No document exists, so 404 means that the user was accepted.
use constant { IN => 404, OUT => 401 };
sub login {
    my ($user) = @_;
    # The library of a sanitizer is preloaded for httpd only, because curl hangs with it
    local %ENV = map { $_ => $ENV{$_} } grep { $_ ne 'LD_PRELOAD' } keys %ENV;
    return qx(curl -s -o /dev/null -w '%{http_code}' --ntlm -u '$user' http://127.0.0.1:$server->{port}/no);
}

is(login('alice:secret'), IN, 'let in');
is(login('alice:hidden'), OUT, 'a wrong password');
ok($server->logs(qr/NTLM user "alice": wrong password/), 'as the log says');
is(login('mallory:secret'), OUT, 'an unknown user');
ok($server->logs(qr/NTLM user "mallory": unknown/), 'as the log says');
for my $name (sort keys %barred) {
    is(login("$name:secret"), OUT, "[" . ($barred{$name}[1] // 'U') . "] $name");
    ok($server->logs(qr/NTLM user "\Q$name\E": (?!wrong|unknown)/), 'the log says why');
}

# A change that keeps the size and the time of the file
put($all =~ s/\[UL /[U  /r =~ s/(alice.*)\[U /$1\[D /r);
utime $mtime, $mtime, $file;
is(login('locked:secret'), IN, 'unlocked, in a file of the same size and time');
is(login('alice:secret'), OUT, 'disabled in it');

put(account(alice => 'secret') . account(bob => 'secret', 'DU') =~ s/\[DU.*/[/sr);
is(login('bob:secret'), OUT, 'flags that are not all there yet');
ok($server->logs(qr/AuthNtlmUserFile \S+: 1 lines are not name:\S+, the first is line 2$/m), 'are no line');

put(account(alice => 'hidden') . '#' x (16 << 20));
is(login('alice:hidden'), OUT, 'a file that is too large');
ok($server->logs(qr/AuthNtlmUserFile \S+ cannot be read: larger than 16 MiB/), 'as the log says');
put(account(alice => 'hidden'));
is(login('alice:hidden'), IN, 'and one that is not');
unlink $file;
done_testing;
