# Real clients through this module to an RPC proxy behind it, in two layers and in three, over TLS with
# verified certificates. Who they are is for the last one to ask: Basic, NTLM and Kerberos pass through.

use strict;
use warnings;
use Test::More;
use RPCH::FreeRDP;
use RPCH::Httpd;
use RPCH::KDC;
use RPCH::Needs qw(missing needs needs_modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::Samba;
use RPCH::Test;
use RPCH::Winbind;

my $modules = needs_modules(qw(proxy proxy_http));
needs(qw(python3-impacket python3-samba samba-common-bin), RPCH::FreeRDP::PACKAGES);
RPCH::Winbind->need if $> == 0;
my $gssapi = !missing(RPCH::KDC::PACKAGES, qw(libapache2-mod-auth-gssapi libgssapi-perl));

my $conf = vars('serverroot') . '/conf';
my $cacert = "$conf/server.crt";
my $path = '/rpc/rpcproxy.dll';
my $gateway = '/remoteDesktopGateway/';
my $user = RPCH::Samba::user();
my $samba = RPCH::Samba->start;
my $target = tcp_server(quiet => 1);
my $kdc = $gssapi ? RPCH::KDC->start(alice => 'Wonderland') : undef;
my $keytab = $kdc && $kdc->service('HTTP/localhost');
my $winbind = $> == 0 ? RPCH::Winbind->new : undef;     # winbindd runs as root only
if ($winbind) {
    add("$winbind->{dir}/smbpasswd", smbpasswd_line($user => RPCH::Samba::PASSWORD) =~ s/:1000:/:$>:/r =~ s/LCT-0+/LCT-6523A000/r);
    $winbind->start;
}

sub add { my ($file, @lines) = @_; open my $fh, '>>', $file or die "$file: $!\n"; print $fh @lines; close $fh or die "$file: $!\n"; return $file }

# ---- the layers ----

# The proxy that asks who the client is, in a virtual host for each way.
my $NTLM = "AuthType NTLM\nAuthNtlmPinnedConnections On\nAuthNtlmNegotiate On\nAuthNtlmUserFile "
    . add("$conf/smbpasswd-$$", smbpasswd_line(alice => 'secret'), smbpasswd_line($user => RPCH::Samba::PASSWORD)) . "\n";
my %way = (
    basic => "AuthType Basic\nAuthUserFile $conf/users\n",
    ntlm => $NTLM . 'AuthNtlmExtendedProtection off',
    bound => $NTLM . 'AuthNtlmExtendedProtection require',
    winbind => "AuthType NTLM\nAuthNtlmPinnedConnections On\nAuthNtlmNegotiate On\nAuthNtlmProvider winbind\n",
    kerberos => "AuthType GSSAPI\nGssapiCredStore keytab:" . ($keytab // '') . "\nGssapiAllowedMech krb5\n",
);
delete $way{winbind} if !$winbind;
delete $way{kerberos} if !$gssapi;
my @ways = sort keys %way;

my $ALLOWED = qq("localhost:3388;$samba->{address}:1024-65535");
my $BEHIND = "SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile $cacert\n";

sub host {
    my ($port, $before, @lines) = @_;
    return join "\n", "Listen 127.0.0.1:$port", "<VirtualHost 127.0.0.1:$port>", 'ServerName localhost', 'SSLEngine on',
        "SSLCertificateFile $cacert", "SSLCertificateKeyFile $conf/server.key", $before, "<Location $path>", 'SetHandler rpcproxy',
        @lines, "RpcValidPorts $ALLOWED", '</Location>', "<Location $gateway>", grep({ !/ ncacn_ip_tcp:/ } @lines), '</Location>',
        '</VirtualHost>', '';
}
sub last_one {
    my ($port, $way) = @_;
    return host($port, '', $way{$way}, 'AuthName rpc', 'Require valid-user', "RpcBackend localhost:3388 ncacn_ip_tcp:127.0.0.1[$target->{port}]",
        "RpcBackend $samba->{address} ncacn_ip_tcp:$samba->{address}");
}
# With ProxyAddHeaders Off the next one of ours sees no front end, which it could not offer NTLM to.
sub relay { my ($port, $next) = @_; return host($port, "${BEHIND}ProxyAddHeaders Off", "RpcBackend * https://localhost:$next") }

my %port = map { my $layer = $_; $layer => { map { $_ => RPCH::Root::free_ports(1) } @ways } } 1 .. 3;
my $LOAD = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http), $gssapi ? 'auth_gssapi' : ();
my %httpd;
{
    local %ENV = (%ENV, $winbind ? $winbind->environment : ());
    $httpd{3} = RPCH::Httpd->new(conf => join '', $LOAD, map { last_one($port{3}{$_}, $_) } @ways)->start;
}
for my $layer (2, 1) {
    $httpd{$layer} = RPCH::Httpd->new(conf => join '', $LOAD, map { relay($port{$layer}{$_}, $port{ $layer + 1 }{$_}) } @ways)->start;
}
# Clients ask the second for two layers, and the first for three.
my %at = (two => $port{2}, three => $port{1});

sub seen { my ($who, $request, $name) = @_; return ok($httpd{3}->logs(qr/^(?:[A-Z]+\\+)?\Q$who\E "$request" 200 /m, 'access_log'), $name // "the last one has seen $who") }

# ---- clients ----

sub impacket {
    my ($port, $http, $password) = @_;
    return $samba->python('imp_call.py', $http eq 'basic' ? () : "--http=$http", "https://127.0.0.1:$port$path", 'alice', $password,
                          $user, RPCH::Samba::PASSWORD, RPCH::Samba::DOMAIN, $samba->{address}, "winreg:$samba->{ports}{winreg}:6");
}
sub samba {
    my ($port, $http, $password) = @_;
    return $samba->python('s4_call.py', "--http=$http", "$samba->{dir}/client.conf", "127.0.0.1:$port",
                          $user, $password, RPCH::Samba::DOMAIN, $samba->{address}, "samr:$samba->{ports}{samr}:seal");
}
sub curl {
    my ($port, @args) = @_;
    return qx(LD_PRELOAD= curl -s -o /dev/null -w '%{http_code} %{num_connects}' --cacert $cacert -X RPC_IN_DATA @args https://localhost:$port$path);
}
sub rpcping {
    my ($port, @args) = @_;
    return qx(LD_PRELOAD= build/rpcping --cacert $cacert @args https://localhost:$port $samba->{address}:$samba->{ports}{samr} 2>&1);
}
sub freerdp_opens { my ($port) = @_; return RPCH::FreeRDP->opens($target, $port, RPCH::Samba::DOMAIN) }

my %CALLED = (impacket => qr/^winreg 6: version \d+$/, samba => qr/^samr seal: Builtin RPCSRV$/m, rpcping => qr/call +ok/);
my $REFUSED = qr/401|auth|NTSTATUS|NT_STATUS|password is wrong/i;
sub works {
    my ($layers, $way, $client, $http, $password) = @_;
    my $port = $at{$layers}{$way};
    my %run = (impacket => \&impacket, samba => \&samba, rpcping => sub { my ($port, $http, $password) = @_; return rpcping($port, '-a', $http, '-u', "alice:$password") });
    my $name = "$layers layers, $way, $http: $client";
    return like($run{$client}->($port, $http, $password // 'secret'), $CALLED{$client}, $name);
}

subtest 'Basic' => sub {
    works(two => 'basic', $_, 'basic') for qw(impacket rpcping);
    works($_ => 'basic', 'samba', 'basic', RPCH::Samba::PASSWORD) for qw(two three);
    like(impacket($at{two}{basic}, 'basic', 'wrong'), $REFUSED, 'impacket with a wrong password');
    like(rpcping($at{three}{basic}, '-u alice:wrong'), $REFUSED, 'rpcping with a wrong password');
    is(curl($at{three}{basic}, '-u alice:secret'), '200 1', 'three layers: curl');
    seen($_ => qr/RPC_OUT_DATA \S+\?\S+ HTTP\/1.[01]/) for 'alice', $user;
};

subtest 'NTLM' => sub {
    works(two => 'ntlm', 'rpcping', 'ntlm');
    works(two => 'ntlm', 'samba', $_, RPCH::Samba::PASSWORD) for qw(ntlm negotiate);
    works($_ => 'ntlm', 'impacket', 'ntlm') for qw(two three);
    like(samba($at{two}{ntlm}, 'ntlm', 'wrong'), $REFUSED, 'Samba with a wrong password');
    is(curl($at{$_}{ntlm}, '--ntlm -u alice:secret'), '200 1', "$_ layers: curl") for qw(two three);
    is(curl($at{three}{ntlm}, '--ntlm -u alice:wrong'), '401 1', 'curl with a wrong password');
};

# All layers have one certificate, so a client binds to that of the last one.
subtest 'FreeRDP' => sub {
    ok(freerdp_opens($at{$_}{bound}), "$_ layers, bound: the tunnel is open") for qw(two three);
    seen(alice => qr/RPC_OUT_DATA \S+\?localhost:3388 HTTP\/1\.1/);
};

# FreeRDP's own way of today. The last one is no gateway and says 405, but to whom it knows.
subtest 'FreeRDP, RDG_OUT_DATA' => sub {
    for my $layers (qw(two three)) {
        my $freerdp = RPCH::FreeRDP->start($at{$layers}{ntlm}, undef, RPCH::Samba::DOMAIN, 'http');
        ok(eval { $freerdp->exit_code; 1 }, "$layers layers: FreeRDP ends") or diag $@;
        ok($httpd{3}->logs(qr{(?:^alice "RDG_OUT_DATA \Q$gateway\E HTTP/1\.1" 405 (?s:.*?)){@{[ $layers eq 'two' ? 1 : 2 ]}}}m, 'access_log'),
           "$layers layers: the last one has seen alice") or diag $freerdp->log;
    }
};

subtest 'winbind' => sub {
    plan skip_all => 'winbindd wants root' if !$winbind;
    works(two => 'winbind', 'samba', 'ntlm', RPCH::Samba::PASSWORD);
    works(two => 'winbind', 'rpcping', 'ntlm');
    is(curl($at{two}{winbind}, '--ntlm -u bob:hidden'), '200 1', 'curl');
    seen(bob => qr/RPC_IN_DATA \S+ HTTP\/1\.1/);
};

subtest 'Kerberos' => sub {
    plan skip_all => 'no KDC, GSSAPI.pm or mod_auth_gssapi' if !$gssapi;
    is(curl($at{two}{kerberos}, '--negotiate -u :'), '401 1', 'curl without a ticket');
    $kdc->login(alice => 'Wonderland');
    is(curl($at{$_}{kerberos}, '--negotiate -u :'), '200 1', "$_ layers: curl") for qw(two three);
    like(rpcping($at{two}{kerberos}, '-a negotiate -u alice'), $CALLED{rpcping}, 'two layers: rpcping');
    $kdc->logout;
    seen('alice@CONTOSO.TEST' => qr/RPC_OUT_DATA \S+\?\S+ HTTP\/1\.1/);
};

unlike($_->log, qr/protocol-error|bad-pdu|upstream-answer|\[(?:crit|emerg|alert)\]/, 'nothing was taken for an error') for values %httpd;
$target->close;
done_testing;
