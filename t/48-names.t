# Where a name leads: the patterns that administrators need, and maps that httpd's mod_rewrite keeps
# in a file or a program.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;

my @at = map { server(host => "127.0.0.$_", echo => 1) } 2 .. 5;
my $port = $at[0]{port};
sub at { my ($s) = $at[$_[0]]; return "ncacn_http:$s->{host}\[$s->{port}]" }

my $dir = vars('serverroot') . '/names';
mkdir $dir or die "$dir: $!\n";
sub file {
    my ($name, $text, $mode) = @_;
    open my $fh, '>', "$dir/$name" or die "$dir/$name: $!\n";
    print $fh $text;
    close $fh;
    chmod $mode, "$dir/$name" if $mode;
    return "$dir/$name";
}
END { if (defined $dir) { unlink glob "$dir/*"; rmdir $dir } }
file('map.txt', "dc1.map.test " . at(0) . "\ndc2.map.test " . at(1) . "\npair.map.test ncacn_http:127.0.0.9[1]," . at(2) . "\nodd.map.test nonsense\n");
# Answers a name "N.prg.test" with server number N.
file('map.pl', "#!$^X\n\$| = 1;\nmy \@at = qw(" . join(' ', map { at($_) } 0 .. 3) . ");\n"
     . 'while (<STDIN>) { print /^(\d)\.prg\.test$/ && $at[$1] ? "$at[$1]\n" : "NULL\n" }' . "\n", 0755);

my $users = vars('serverroot') . '/conf/users';
my ($modules) = do { open my $fh, '<', vars('serverroot') . '/conf/modules.conf'; join '', <$fh> } =~ m{(\S+)/mod_\w+\.so};
my $httpd = RPCH::Httpd->new(conf => <<"CONF")->start;
LoadModule rewrite_module $modules/mod_rewrite.so
RewriteEngine on
RewriteMap file txt:$dir/map.txt
RewriteMap program prg:$dir/map.pl
RewriteCond %{QUERY_STRING} ^([^:]+\\.map\\.test):
RewriteCond \${file:%1} ^(.+)\$
RewriteRule ^ - [E=WHERE:%1]
RewriteCond %{QUERY_STRING} ^([^:]+\\.prg\\.test):
RewriteCond \${program:%1} ^(.+)\$
RewriteRule ^ - [E=WHERE:%1]
<Location /rpc/rpcproxy.dll>
    SetHandler rpcproxy
    AuthType Basic
    AuthName rpc
    AuthUserFile $users
    Require valid-user
    RpcRequireTLS off
    RpcValidPorts *:1-65535
    RpcBackend 0f3a9e1c-5b1d-4c1a-9d55-0c4ee1a2b3c4\@contoso.test:6001 @{[ at(1) ]}
    RpcBackend *\@contoso.test:6001  @{[ at(0) ]}
    RpcBackend *\@contoso.test       @{[ at(2) ]}
    RpcBackend localhost:3388        @{[ at(3) ]}
    RpcBackend EXCH1:6001-6002       @{[ at(1) ]}
    RpcBackend exch1.contoso.test    @{[ at(1) ]}
    RpcBackend gc*:6004              ncacn_http:127.0.0.*[$port]
    RpcBackend *.addr.test           ncacn_http:127.0.0.*[$port]
    RpcBackend *.map.test            env=WHERE
    RpcBackend *.prg.test            env=WHERE
</Location>
CONF

# Where TARGET leads: the address of the server, or how the target is refused.
sub leads {
    my ($target) = @_;
    my %before = map { $_ => $_->connections } @at;
    my $c = plain(port => $httpd->{port}, target => $target);
    my $answer = eval { $c->connect; $c->call(request_pdu(1, 'call')) };
    my $status = $c->out && $c->out->{head} ? $c->out->{head}{status} : 'none';
    $c->close;
    return defined $answer ? join ' ', map { $_->{host} } grep { $_->connections > $before{$_} } @at : $status;
}
sub is_at { my ($target, $where, $name) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return is(leads($target), $where, "$target: $name") }

is_at('0f3a9e1c-5b1d-4c1a-9d55-0c4ee1a2b3c4@contoso.test:6001', '127.0.0.3', 'one mailbox');
is_at('0F3A9E1C-5B1D-4C1A-9D55-0C4EE1A2B3C4@CONTOSO.TEST:6001', '127.0.0.3', 'in capitals');
is_at('11111111-2222-3333-4444-555555555555@contoso.test:6001', '127.0.0.2', 'all others of the domain');
is_at('11111111-2222-3333-4444-555555555555@contoso.test:6002', '127.0.0.4', 'another port of theirs');
is_at('localhost:3388', '127.0.0.5', 'what clients of RD Gateway ask for');
is_at('exch1:6001', '127.0.0.3', 'a NetBIOS name');
is_at('Exch1:6002', '127.0.0.3', 'its other port, its other case');
is_at('exch1.contoso.test:6001', '127.0.0.3', 'and the whole name');
is_at('GC2:6004', '127.0.0.2', 'a part of the name');
is_at('2.addr.test:6004', '127.0.0.2', 'a part of an address');

is_at('dc1.map.test:135', '127.0.0.2', 'from a file');
is_at('dc2.map.test:135', '127.0.0.3', 'another line of it');
is_at('pair.map.test:135', '127.0.0.4', 'several servers in it');
my $mark = length $httpd->log;
is_at('dc3.map.test:135', '503', 'no line of it');
like(substr($httpd->log, $mark), qr/bad-target: RpcBackend \*\.map\.test env=WHERE: the variable is not set/, 'the log says so');
$mark = length $httpd->log;
is_at('odd.map.test:135', '503', 'a line that makes no sense');
like(substr($httpd->log, $mark), qr/bad-target: RpcBackend \*\.map\.test env=WHERE: .*nonsense/, 'the log says what it is');
file('map.txt', 'dc3.map.test ' . at(3) . "\n");
utime time + 10, time + 10, "$dir/map.txt";     # mod_rewrite reads the file again when its time has changed
is_at('dc3.map.test:135', '127.0.0.5', 'the file changes, without a restart');
is_at('dc1.map.test:135', '503', 'and what is gone is gone');
is_at("$_.prg.test:135", '127.0.0.' . ($_ + 2), 'from a program') for 0 .. 3;
is_at('9.prg.test:135', '503', 'which knows no more');

$_->close for @at;
done_testing;
