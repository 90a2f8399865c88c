# Real clients with NTLM over TLS: impacket, Samba's client, curl and FreeRDP. The accounts are in a
# file or in winbind, with and without extended protection. And the attack that extended protection
# prevents: a login through a relay.

use strict;
use warnings;
use Test::More;
use RPCH::CA;
use RPCH::FreeRDP;
use RPCH::Httpd;
use RPCH::Needs qw(needs);
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::Samba;
use RPCH::Test;
use RPCH::Winbind;

needs(qw(python3-impacket python3-samba samba-common-bin), RPCH::FreeRDP::PACKAGES);
RPCH::Winbind->need if $> == 0;

my %NT_HASH = (secret => '878D8014606CDA29677A44EFA1353FC7', RPCH::Samba::PASSWORD, RPCH::Samba::NT_HASH);
my $conf = vars('serverroot') . '/conf';
my $samba = RPCH::Samba->start;
my $target = tcp_server(quiet => 1);
my $winbind = $> == 0 ? winbind() : undef;      # winbindd runs as root only
my (%port, $httpd);
start_httpd(qw(off allow require), $winbind ? 'winbind' : ());

# alice logs in to HTTP. Clients that use one name for HTTP and for DCE/RPC log in as the user who
# runs the test. There is a virtual host for each kind of protection, and one for winbind.
sub start_httpd {
    my (@kinds) = @_;
    my $first = RPCH::Root::free_ports(scalar @kinds);
    @port{@kinds} = map { $first + $_ } 0 .. $#kinds;
    my %password = (RPCH::FreeRDP::USER, RPCH::FreeRDP::PASSWORD, RPCH::Samba::user(), RPCH::Samba::PASSWORD);
    open my $fh, '>', "$conf/smbpasswd-$$" or die "smbpasswd: $!\n";
    print $fh map { account($_, $password{$_}) } sort keys %password;
    close $fh or die "smbpasswd: $!\n";
    local %ENV = (%ENV, $winbind ? $winbind->environment : ());
    $httpd = RPCH::Httpd->new(conf => "LogLevel auth_ntlm:debug\n" . join '', map { host($_) } @kinds)->start;
    return;
}

sub account {
    my ($user, $password) = @_;
    return sprintf "%s:%d:%s:%s:[U          ]:LCT-6523A000:\n", $user, $>, 'X' x 32, $NT_HASH{$password};
}

# winbindd with its own accounts and the user who runs the test.
sub winbind {
    my $self = RPCH::Winbind->new;
    open my $fh, '>>', "$self->{dir}/smbpasswd" or die "smbpasswd: $!\n";
    print $fh account(RPCH::Samba::user(), RPCH::Samba::PASSWORD);
    close $fh or die "smbpasswd: $!\n";
    return $self->start;
}

sub host {
    my ($kind) = @_;
    my $provider = $kind eq 'winbind' ? 'AuthNtlmProvider winbind'
                 : "AuthNtlmProvider file\nAuthNtlmUserFile $conf/smbpasswd-$$\nAuthNtlmExtendedProtection $kind";
    return <<"CONF";
Listen 127.0.0.1:$port{$kind}
<VirtualHost 127.0.0.1:$port{$kind}>
    @{[ RPCH::Httpd->tls_lines ]}
    <Location /rpc/rpcproxy.dll>
        SetHandler rpcproxy
        AuthType NTLM
        AuthName rpc
        $provider
        AuthNtlmNegotiate On
        Require valid-user
        RpcValidPorts "localhost:3388;$samba->{address}:1024-65535"
        RpcBackend localhost:3388 ncacn_ip_tcp:127.0.0.1[$target->{port}]
        RpcBackend $samba->{address} ncacn_ip_tcp:$samba->{address}
    </Location>
</VirtualHost>
CONF
}

sub url { my ($kind) = @_; return "https://127.0.0.1:$port{$kind}/rpc/rpcproxy.dll" }

# ---- clients ----

sub impacket {
    my ($kind, $password, $what) = @_;
    return $samba->python('imp_call.py', '--http=ntlm', ref $kind ? $$kind : url($kind), 'alice', $password,
                          RPCH::Samba::user(), RPCH::Samba::PASSWORD, RPCH::Samba::DOMAIN, $samba->{address}, $what);
}

sub samba {
    my ($kind, $http, $password, $what) = @_;
    return $samba->python('s4_call.py', "--http=$http", "$samba->{dir}/client.conf", "127.0.0.1:$port{$kind}",
                          RPCH::Samba::user(), $password, RPCH::Samba::DOMAIN, $samba->{address}, $what);
}

# The status of curl's last request, and the number of connections.
sub curl {
    my ($kind, @args) = @_;
    return qx(LD_PRELOAD= curl -s -o /dev/null -w '%{http_code} %{num_connects}' --cacert $conf/server.crt -X RPC_IN_DATA @args @{[ url($kind) ]});
}

sub freerdp_opens { my ($kind, $domain) = @_; return RPCH::FreeRDP->opens($target, $port{$kind}, $domain) }

subtest 'impacket' => sub {
    for my $kind (qw(off allow)) {
        like(impacket($kind, 'secret', "mgmt:$samba->{ports}{samr}:0"), qr/^mgmt 0: [1-9]\d* interfaces$/, "$kind: a call");
    }
    like(impacket('off', 'secret', "winreg:$samba->{ports}{winreg}:6"), qr/^winreg 6: version \d+$/, 'and one with NTLM of its own');
    like(impacket('off', 'wrong', "mgmt:$samba->{ports}{samr}:0"), qr/401|auth/i, 'a wrong password');
    like(impacket('require', 'secret', "mgmt:$samba->{ports}{samr}:0"), qr/401|auth/i, 'require: it binds to no certificate');
    ok($httpd->logs(qr/^(?:RPCSRV\\+)?alice "RPC_OUT_DATA \S+\?\S+:\d+ HTTP\/1\.1" 200 /m, 'access_log'), 'the access log has the user');
};

subtest 'Samba' => sub {
    my $user = RPCH::Samba::user();
    for my $http (qw(ntlm negotiate)) {
        like(samba($_, $http, RPCH::Samba::PASSWORD, "samr:$samba->{ports}{samr}:seal"), qr/^samr seal: Builtin RPCSRV$/m, "$http, $_: calls")
            for qw(off allow);
        like(samba('off', $http, 'wrong', "samr:$samba->{ports}{samr}:seal"), qr/NTSTATUS|NT_STATUS/, 'a wrong password');
        like(samba('require', $http, RPCH::Samba::PASSWORD, "samr:$samba->{ports}{samr}:seal"), qr/NTSTATUS|NT_STATUS/,
            'require: 16 zero bytes are no binding');
    }
    ok($httpd->logs(qr/^(?:RPCSRV\\+)?$user "RPC_OUT_DATA \S+\?\S+:\d+ HTTP\/1\.0" 200 /m, 'access_log'), 'the access log has the user');
};

subtest 'curl' => sub {
    is(curl('off', '--ntlm -u alice:secret'), '200 1', 'NTLM');
    is(curl('allow', "--ntlm -u 'CONTOSO\\alice:secret'"), '200 1', 'with a domain');
    is(curl('off', '--ntlm -u alice:wrong'), '401 1', 'a wrong password');
    is(curl('require', '--ntlm -u alice:secret'), '401 1', 'require: it binds to no certificate');
    local $ENV{NTLM_USER_FILE} = "$conf/ntlm-users-$$";
    local $ENV{KRB5_CONFIG} = '/dev/null';
    open my $fh, '>', $ENV{NTLM_USER_FILE} or die "$ENV{NTLM_USER_FILE}: $!\n";
    print $fh "CONTOSO:alice:secret\n";
    close $fh or die "$ENV{NTLM_USER_FILE}: $!\n";
    is(curl('off', '--negotiate -u :'), '200 1', 'Negotiate, by a mechanism of GSS-API');
};

subtest 'FreeRDP' => sub {
    ok(freerdp_opens($_), "$_: the tunnel is open") for qw(off require);
    ok($httpd->logs(qr/^(?:CONTOSO\\+)?alice "RPC_OUT_DATA \S+\?localhost:3388 HTTP\/1\.1" \d+ /m, 'access_log'), 'the access log has the user');
};

subtest 'winbind' => sub {
    plan skip_all => 'winbindd wants root' if !$winbind;
    my $call = "mgmt:$samba->{ports}{samr}:";
    like(impacket('winbind', 'secret', "${call}0"), qr/^mgmt 0: [1-9]\d* interfaces$/, 'impacket');
    like(impacket('winbind', 'wrong', "${call}0"), qr/401|auth/i, 'with a wrong password');
    for my $http (qw(ntlm negotiate)) {
        like(samba('winbind', $http, RPCH::Samba::PASSWORD, $call), qr/^mgmt : [1-9]\d* interfaces$/m, "Samba, $http");
        like(samba('winbind', $http, 'wrong', $call), qr/NTSTATUS|NT_STATUS/, 'with a wrong password');
    }
    is(curl('winbind', '--ntlm -u bob:hidden'), '200 1', 'curl');
    is(curl('winbind', '--ntlm -u carol:secret'), '401 1', 'as one who is disabled');
    ok(freerdp_opens('winbind', RPCH::Samba::DOMAIN), 'FreeRDP: the tunnel is open');
};

# ---- the relay ----

# Where the relay listens, and what it prints at its end. It has a certificate of its own.
my $relay_ca = RPCH::CA->new('Relay');
my $relay_tls = $relay_ca->person('localhost');
sub relayed {
    my ($kind, $victim) = @_;
    my $script = vars('top_dir') . '/t/partners/relay.py';
    my $pid = open my $out, '-|', 'timeout', '60', '/usr/bin/python3', $script, @$relay_tls{qw(SSL_cert_file SSL_key_file)}, url($kind);
    $pid or die "relay: $!\n";
    chomp(my $port = <$out> // '');
    my $kept = $victim->($port);
    chomp(my $text = <$out> // 'nothing');
    kill TERM => $pid;
    close $out;
    return $text;
}

subtest 'a relay' => sub {
    my %victim = (
        impacket => sub { my ($port) = @_; return impacket(\"https://127.0.0.1:$port/rpc/rpcproxy.dll", 'secret', 'mgmt:6001:0') },
        FreeRDP => sub { my ($port) = @_; return RPCH::FreeRDP->start($port) },
    );
    is(relayed(off => $victim{FreeRDP}), 'in 200', 'is in as who asked it, without protection');
    is(relayed(off => $victim{impacket}), 'in 200', 'whoever that is');
    is(relayed(allow => $victim{FreeRDP}), 'refused', 'allow: not when the client has bound its answer to the certificate of the relay');
    is(relayed(require => $victim{FreeRDP}), 'refused', 'nor with require');
    ok($httpd->logs(qr/bound to another certificate/), 'as the log has it');
    is(relayed(allow => $victim{impacket}), 'in 200', 'allow: but when it has not');
    is(relayed(require => $victim{impacket}), 'refused', 'which require does not take');
};

unlike($httpd->log, qr/protocol-error|bad-pdu/, 'nothing was taken for an error');
$target->close;
done_testing;
