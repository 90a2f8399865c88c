# Kerberos by mod_auth_gssapi, NTLM and Basic beside it, in one location as conf/ shows it. The
# realm is private, and the client gets its tickets there.

use strict;
use warnings;
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use RPCH::File qw(slurp);
use RPCH::Httpd;
use RPCH::KDC;
use RPCH::Needs qw(modules needs);
use RPCH::RPC qw(bind_pdu request_pdu rpc_parse RESPONSE);
use RPCH::Test;

needs(RPCH::KDC::PACKAGES, qw(libapache2-mod-auth-gssapi libgssapi-perl gss-ntlmssp curl));
GSSAPI->import;
my $modules = modules();

# The file for carol, who has an NT hash and no principal.
my ($PASSWORD, $NT_HASH) = ('Passw0rd!', 'FC525C9683E8FE067095BA2DDC971889');

my $kdc = RPCH::KDC->start(alice => 'Wonderland', bob => 'Builder');
my $server = server();
my $tcp = tcp_server();
my $httpd = httpd($kdc->service('HTTP/localhost'));
my $path = '/rpc/rpcproxy.dll';

# An httpd with the samples of conf/, adapted as their comments say.
sub httpd {
    my ($keytab, %change) = @_;
    my $conf = vars('serverroot') . '/conf';
    my $text = join '', map { slurp("conf/$_") } qw(rpcproxy.conf rpcproxy-ntlm.conf rpcproxy-kerberos.conf);
    $text =~ s{^LoadModule (?:rpcproxy|auth_ntlm)_module .*\n}{}mg;     # the modules of this build are loaded already
    $text =~ s{\b512$}{32}mg;            # threads: under valgrind it takes minutes to make so many
    $text =~ s{AuthNtlmProvider winbind}{AuthNtlmProvider file};
    $text =~ s{^( +)# (AuthNtlmUserFile|AuthNtlmBasicProvider|AuthUserFile|Header)}{$1$2}mg;
    $text =~ s{ modules/}{ $modules/}g;
    $text =~ s{/etc/apache2/rpc\.keytab}{$keytab};
    $text =~ s{/etc/apache2/rpc\.smbpasswd}{$conf/smbpasswd-$$}g;
    $text =~ s{/etc/apache2/rpc\.users}{$conf/users}g;
    $text =~ s{^ +RpcValidPorts .*}{    RpcValidPorts "127.0.0.1:1024-65535;tcp.contoso.test:1024-65535"}m;
    $text =~ s{</LocationMatch>}{    RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1\n$&};
    open my $fh, '>', "$conf/smbpasswd-$$" or die "smbpasswd: $!\n";
    printf $fh "carol:1000:%s:%s:[U          ]:LCT-6523A000:\n", 'X' x 32, $NT_HASH;
    close $fh or die "smbpasswd: $!\n";
    return RPCH::Httpd->new(limits => '', conf => <<"CONF")->start;
LoadModule headers_module $modules/mod_headers.so
LogLevel auth_gssapi:info
SSLEngine on
SSLCertificateFile $conf/server.crt
SSLCertificateKeyFile $conf/server.key
$text
<Location /ntlm/rpcproxy.dll>
    SetHandler rpcproxy
    AuthType NTLM
    AuthName rpc
    AuthNtlmNegotiate On
    AuthNtlmUserFile $conf/smbpasswd-$$
    Require valid-user
</Location>
CONF
}

# ---- a client with a ticket ----

# A context for the proxy's service, and its first token: SPNEGO with a ticket in it.
sub context {
    my (%opt) = @_;
    my ($status, $name, $token);
    my $context = GSSAPI::Context->new;
    $status = GSSAPI::Name->import($name, $opt{service} // 'HTTP@localhost', GSSAPI::OID::gss_nt_hostbased_service())
        or die "$status\n";
    $status = $context->init(GSSAPI::GSS_C_NO_CREDENTIAL(), $name, $opt{mech} // GSSAPI::OID::gss_mech_spnego(),
                             GSSAPI::GSS_C_MUTUAL_FLAG(), 0, GSSAPI::GSS_C_NO_CHANNEL_BINDINGS(), '', undef, $token,
                             undef, undef) or die "$status\n";
    return { context => $context, name => $name, token => $token, %opt };
}

# Does the token in WWW-Authenticate of the answer prove that the server is the right one?
sub server_proved {
    my ($c, $head) = @_;
    my ($answer) = ($head->{headers}{'www-authenticate'} // '') =~ /^Negotiate (\S+)$/ or return 0;
    my $more;
    my $status = $c->{context}->init(GSSAPI::GSS_C_NO_CREDENTIAL(), $c->{name}, $c->{mech} // GSSAPI::OID::gss_mech_spnego(),
                                     GSSAPI::GSS_C_MUTUAL_FLAG(), 0, GSSAPI::GSS_C_NO_CHANNEL_BINDINGS(),
                                     decode_base64($answer), undef, $more, undef, undef);
    return $status->major == GSSAPI::GSS_S_COMPLETE() ? 1 : 0;
}

sub negotiate { my ($token) = @_; return (user => undef, headers => ['Authorization: Negotiate ' . encode_base64($token, '')]) }

sub kerberos { my (%arg) = @_; return client(port => $httpd->{port}, user => undef, %arg) }

# Sends one request, returns the header of the answer, and closes the connection.
sub answer {
    my ($method, $uri, %opt) = @_;
    my $ch = kerberos()->dial('a connection');
    $ch->request($method, $uri, length => 0, %opt);
    my $head = $ch->head;
    $ch->close;
    return $head;
}

# Opens a virtual connection, with a token for each channel.
sub connected {
    my ($c, @tokens) = @_;
    $c->open_in(negotiate($tokens[0]));
    $c->open_out(negotiate($tokens[1]));
    return $c->send_a1->send_b1->opened;
}

sub call_ok {
    my ($c, $name) = @_;
    $c->call(bind_pdu());
    my $answer = rpc_parse($c->call(request_pdu(1, 'through the looking-glass')));
    return is($answer->{stub}, 'through the looking-glass', $name);
}

# NTLM's first message in SPNEGO (RFC 4178 4.2.1). A hint before it has any length, which moves the
# message to another place.
sub der { my ($tag, $value) = @_; my $n = length $value; return pack('C', $tag) . ($n < 128 ? pack 'C', $n : pack 'Cn', 0x82, $n) . $value }
sub spnego {
    my ($message, $flags) = @_;
    my $ntlmssp = der(0x06, pack 'H*', '2b06010401823702020a');
    my $init = der(0xa0, der(0x30, $ntlmssp)) . (length $flags ? der(0xa1, der(0x03, "\0$flags")) : '') . der(0xa2, der(0x04, $message));
    return der(0x60, der(0x06, pack 'H*', '2b0601050502') . der(0xa0, der(0x30, $init)));
}

# ---- the tests ----

subtest 'what is offered' => sub {
    my $head = answer('RPC_IN_DATA', $path);
    is($head->{status}, 401, 'nobody gets in without authentication');
    my $offered = $head->{headers}{'www-authenticate'} // '';
    like($offered, qr/^Negotiate, NTLM, Basic realm="RPC over HTTP"$/, 'Negotiate first, NTLM and Basic beside it');
};

subtest 'a virtual connection' => sub {
    $kdc->login(alice => 'Wonderland');
    my @contexts = map { context() } 1 .. 2;
    my $c = connected(kerberos(target => "tcp.contoso.test:$tcp->{port}"), map { $_->{token} } @contexts);
    call_ok($c, 'request and response, through the endpoint');
    ok(server_proved($contexts[1], $c->out->head), 'the proxy has proved itself in the 200');
    $c->close;

    $c = kerberos(target => $server->target);
    $c->open_in(negotiate(context()->{token}));
    $c->open_out(negotiate(context(mech => GSSAPI::OID::gss_mech_krb5())->{token}));
    $c->send_a1->send_b1->opened;
    my $vc = $server->vc;
    $c->send(bind_pdu());
    same_pdu($vc->recv, bind_pdu(), 'to a native server; a token without SPNEGO will do');
    $c->close;
    $kdc->logout;
    ok($httpd->logs(qr/^alice\@CONTOSO\.TEST "RPC_$_\_DATA \S+\?tcp\.contoso\.test:\d+ HTTP\/1\.1" 200 /m, 'access_log'),
        "$_: the log has the principal") for qw(IN OUT);
};

subtest 'what is no good' => sub {
    $kdc->login(alice => 'Wonderland');
    my $token = context()->{token};
    is(answer('RPC_IN_DATA', $path, negotiate($token))->{status}, 200, 'a token, once');
    my $head = answer('RPC_IN_DATA', $path, negotiate($token));
    is($head->{status}, 401, 'and not again');
    like($head->{headers}{'www-authenticate'}, qr/^NTLM, Basic realm="RPC over HTTP", Negotiate\b/, 'the other ways stay open');
    my $broken = context()->{token};
    substr($broken, -30, 1) ^= "\x01";
    is(answer('RPC_OUT_DATA', $path, negotiate($broken))->{status}, 401, 'a token with one bit wrong');
    $kdc->service('HTTP/elsewhere');
    my $elsewhere = context(service => 'HTTP@elsewhere')->{token};
    is(answer('RPC_OUT_DATA', $path, negotiate($elsewhere))->{status}, 401, 'a ticket for another service');
    $kdc->logout;
    ok(!eval { context(); 1 }, 'without a ticket there is no token');
};

subtest 'curl' => sub {
    my $curl = sub {
        my ($args, $path) = (@_, $path);
        my $cert = vars('serverroot') . '/conf/server.crt';
        return qx(LD_PRELOAD= curl -s -o /dev/null -w '%{http_code} %{num_connects}' --cacert $cert -X RPC_IN_DATA $args https://localhost:$httpd->{port}$path);
    };
    is($curl->('--negotiate -u :'), '401 1', 'without a ticket');
    $kdc->login(alice => 'Wonderland');
    is($curl->('--negotiate -u :'), '200 1', 'with one');
    local $ENV{NTLM_USER_FILE} = "$ENV{KRB5_CONFIG}.ntlm";
    open my $fh, '>', $ENV{NTLM_USER_FILE} or die "$ENV{NTLM_USER_FILE}: $!\n";
    print $fh "CONTOSO:carol:$PASSWORD\n";
    close $fh or die "$ENV{NTLM_USER_FILE}: $!\n";
    is($curl->('--negotiate -u :', '/ntlm/rpcproxy.dll'), '200 1', 'or with NTLM, when the server wants no ticket');
    $kdc->logout;
    is($curl->("--ntlm -u 'carol:$PASSWORD'"), '200 1', 'or NTLM');
    is($curl->("--ntlm -u carol:wrong"), '401 1', 'if the password is right');
    is($curl->('--basic -u bob:hidden'), '200 1', 'or Basic');
    is($curl->('--basic -u bob:wrong'), '401 1', 'if it is right');
};

# There is no server behind the proxy, because only the layers up to the echo matter here.
subtest 'rpcping' => sub {
    my $ping = sub { my ($args) = @_; return qx(LD_PRELOAD= build/rpcping -a negotiate $args --cacert @{[ vars('serverroot') ]}/conf/server.crt https://localhost:$httpd->{port} 127.0.0.1:1024 2>&1) };
    like($ping->(''), qr/authentication +FAILED.*401.*no ticket/s, 'without a ticket');
    $kdc->login(alice => 'Wonderland');
    my $text = $ping->('-u alice');
    like($text, qr/authentication +ok .*Negotiate, with the ticket.*echo +ok .*virtual connection.*(?:503 RPC Error: 6ba|CONN)/s, 'with one') or diag $text;
    $kdc->logout;
};

# With the longest names, the first message of NTLM can be as long as a ticket.
subtest 'NTLM under the name Negotiate' => sub {
    my $type1 = pack 'a8 V V vvV vvV a*', 'NTLMSSP', 1, 0xa008b207, 0, 0, 32, 300, 300, 32, 'W' x 300;
    for my $length (0, 2, 3) {
        my $token = spnego($type1, 'x' x $length);
        my $head = answer('RPC_IN_DATA', $path, negotiate($token));
        like(encode_base64($token), qr/^YI/, 'the token looks like one with a ticket');
        my ($more) = ($head->{headers}{'www-authenticate'} // '') =~ /Negotiate (\S+)/;
        like(decode_base64($more // ''), qr/NTLMSSP\0\x02/, "$length: but is answered with an NTLM challenge");
    }
};

# A token as long as that of a user in many groups. It is not a real ticket, so mod_auth_gssapi, the
# module that takes tickets, refuses it.
subtest 'a token of 64 KB' => sub {
    my $head = answer('RPC_IN_DATA', $path, negotiate("\x60\x82\xff\xfa" . 'x' x 65_530));
    is($head->{status}, 401, 'httpd lets it pass (400 otherwise), and it is no ticket');
    like($head->{headers}{'www-authenticate'}, qr/\bNTLM\b/, 'which leaves the other ways open');
};

subtest 'Basic' => sub {
    my $c = kerberos(target => $server->target, user => 'alice', password => 'secret')->connect;
    my $vc = $server->vc;
    $c->send(bind_pdu());
    same_pdu($vc->recv, bind_pdu(), 'opens a virtual connection in the same place');
    $c->close;
};

unlike($httpd->log, qr/protocol-error|bad-pdu/, 'nothing was taken for an error');
$_->close for $server, $tcp;
done_testing;
