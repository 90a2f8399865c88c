# RpcBackendAuth: who a user is for the server behind, by Basic and by constrained delegation of
# Kerberos. The KDC is a Samba AD domain controller, the server behind a double that says whom its
# GSSAPI has seen: each test asserts that, whatever the status is.

use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(decode_base64 encode_base64 encode_base64url);
use Test::More;
use RPCH::AD;
use RPCH::Balancer;
use RPCH::CA;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Manual qw(blocks commands);
use RPCH::Needs qw(lacks modules needs);
use RPCH::NTLM;
use RPCH::Poll qw(turn wait_for);
use RPCH::Preload;
use RPCH::Test;
use RPCH::WebServer;

needs(RPCH::AD::PACKAGES, qw(libapache2-mod-auth-gssapi libgssapi-perl));
require GSSAPI;
my $modules = modules();

my $own_so = build_dir() . '/mod_rpc_backend_auth.so';
my $root = vars('serverroot');
my @behind = qw(HTTP/cas.test HTTP/localhost);
my $ad = RPCH::AD->start(
    { name => 'alice', password => 'Wonder1and' },
    { name => 'carol', password => 'Wonder1and' },
    { name => 'bob',   flags => RPCH::AD::SENSITIVE },
    { name => 'dora',  flags => RPCH::AD::DISABLED },
    { name => 'john' }, { name => 'jdoe', upn => 'john@mail.example' },     # two people
    { name => 'cas',     spn => \@behind },
    { name => 'other',   spn => ['HTTP/other.test'] },
    { name => 'front',   spn => ['HTTP/front.test'], delegate => \@behind, flags => RPCH::AD::ANY_PROTOCOL },
    { name => 'nofront', spn => ['HTTP/nofront.test'], delegate => \@behind },
    { name => 'noupn',   spn => ['HTTP/noupn.test'], upn => 'noupn@ad.test', delegate => \@behind, flags => RPCH::AD::ANY_PROTOCOL },
    { name => 'svc-proxy' },
);
# Beside all else the commands of the manual make an account out of the last one.
my @manual = map { s/example\.com/test/gr =~ s/EXAMPLE\.COM/AD.TEST/r =~ s/proxy\.keytab/@{[ $ad->keytab('svc-proxy') ]}/r }
    grep { /^samba-tool / } map { commands($_) } blocks(slurp('doc/delegation.md'));
my $setup = fork // die "fork: $!\n";
exec '/bin/sh', '-c', 'unset LD_PRELOAD; exec >$0 2>&1; ' . join(' && ', map { "$_ -s $ad->{dir}/etc/smb.conf" } @manual), "$ad->{dir}/manual.log" or die if !$setup;

$ad->accept_as('cas');

# ---- the server behind ----

# The account that Windows would go by; behind it the principal, if it is written otherwise. '' when the
# token is refused.
sub accepted {
    my ($token) = @_;
    my ($principal, $account) = $ad->whose($token);
    return $principal eq '-' ? '' : lc $principal eq "$account\@ad.test" ? $account : "$account ($principal)";
}

# It says in X-User whom it has seen. With a path that begins with /sticky it asks a connection only
# once, as IIS may do.
my (@seen, $refuse);
my $behind = RPCH::WebServer->new(answer => sub {
    my ($request) = @_;
    my ($scheme, $token) = $request->{headers} =~ /^Authorization: (\S+) (\S+)/mi;
    my $kept = $request->{connection};
    my $user = !defined $scheme ? '' : $scheme eq 'Negotiate' ? accepted($token) : "$scheme " . decode_base64($token);
    $user = $kept->{user} if $request->{uri} =~ m{^/sticky} && length($kept->{user} // '');
    $kept->{user} = $user;
    push @seen, { uri => $request->{uri}, user => $user, n => $request->{n}, headers => $request->{headers} };
    return RPCH::WebServer::answer('401 Unauthorized', 'who are you?', 'WWW-Authenticate: Negotiate', 'WWW-Authenticate: NTLM')
        if $user eq '' || $refuse && $request->{uri} !~ m{^/open};
    return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" if $request->{headers} =~ /^Upgrade: websocket/m;
    return RPCH::WebServer::answer('200 OK', 'welcome', "X-User: $user", 'WWW-Authenticate: Negotiate oRQwEqADCgEA', 'Persistent-Auth: true');
});
my $url = "http://127.0.0.1:$behind->{port}";

# ---- the server in the middle ----

# All have the password "secret".
my @users = (qw(alice carol bob dora nobody john jdoe Alice), 'ADTEST\\alice', 'OTHER\\alice', 'john@mail.example', 'alice@AD.TEST',
             'HTTP/cas.test', 'HTTP@front.test');
put("$root/delegated", map { "$_:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n" } @users);
put("$root/smbpasswd-$$", RPCH::NTLM::smbpasswd_line('alice', 'secret'));
chmod 0640, "$root/smbpasswd-$$";
chown 0, scalar getgrnam(vars('group')), "$root/smbpasswd-$$" if $> == 0;

my $BASIC = "AuthType Basic\nAuthName x\nAuthBasicProvider file\nAuthUserFile $root/delegated\nRequire valid-user";
my $LOAD = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http headers auth_gssapi proxy_balancer lbmethod_byrequests slotmem_shm);
$LOAD .= "LoadModule rpc_backend_auth_module $own_so\n";
my $no_oidc = lacks('libapache2-mod-auth-openidc');
$LOAD .= "LoadModule auth_openidc_module $modules/mod_auth_openidc.so\nOIDCOAuthVerifySharedKeys plain##the-key-of-all-tokens-of-this-test\n" if !$no_oidc;

sub location { my ($path, @lines) = @_; return join "\n", "<Location $path>", @lines, "</Location>\n" }

# An httpd that acts by the keytab of ACCOUNT, or else by KRB5_KTNAME. Whoever takes default credentials is carol.
my $carol = $ad->login(carol => 'Wonder1and');
chmod 0644, $carol =~ s/^FILE://r;
sub httpd {
    my ($account, @conf) = @_;
    local $ENV{KRB5CCNAME} = $carol;
    local $ENV{KRB5_CLIENT_KTNAME} = $ad->keytab($account // 'none');
    delete $ENV{KRB5_CLIENT_KTNAME} if !defined $account;
    return RPCH::Httpd->new(conf => join("\n", $LOAD, 'LogLevel rpc_backend_auth:debug auth_gssapi:info', @conf))->start;
}

# One request over a connection of its own, or that of HTTP; the answer's head, with its body.
sub get {
    my ($httpd, $uri, $user, %opt) = @_;
    my $http = delete $opt{http} // RPCH::HTTP->dial(port => $httpd->{port}, name => 'a client', tls => delete $opt{tls});
    my $body = delete $opt{body};
    $http->request(delete $opt{method} // 'GET', $uri, defined $user ? (user => $user, password => 'secret') : (), %opt);
    $http->put($body) if defined $body;
    my $head = $http->head;
    $head->{body} = $http->body;
    return $head;
}

# The server behind has seen WHOM.
sub acts {
    my ($head, $whom, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is("$head->{status} " . ($head->{headers}{'x-user'} // 'nobody'), "200 $whom", $name);
}

# The request has not reached the server behind.
sub refused {
    my ($httpd, $head, $status, $log, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($head->{status}, $status, "$name: $status");
    is($head->{headers}{'www-authenticate'}, undef, "$name: no challenge");
    return ok($httpd->logs($log), "$name: the log says why") || diag grep { /_auth:/ } $httpd->log =~ /.*\n/g;
}

my $ca = RPCH::CA->new('Staff');
my %person = map { $_ => $ca->person($_) } qw(alice);
my $KERBEROS = 'RpcBackendAuth kerberos HTTP/cas.test';
my $GSSAPI = "AuthType GSSAPI\nAuthName x\nGssapiCredStore keytab:" . $ad->keytab('front') . "\nRequire valid-user";
mkdir "$root/left-$$";
chown scalar getpwnam(vars('user')), -1, "$root/left-$$" if $> == 0;
my $tlsport = RPCH::Root::free_ports(1);

# A proxy behind, of this module, which asks for Kerberos.
my $server = server(echo => 1);
my @RPC = ('SetHandler rpcproxy', 'RpcRequireTLS off', qq(RpcValidPorts "127.0.0.1:$server->{port}"));
my $back = httpd('cas', location('/rpc/rpcproxy.dll', @RPC, $GSSAPI =~ s/front\.keytab/cas.keytab/r));
my $front = httpd('front', "ProxyPass /open $url/open",
    location('/app', "ProxyPass $url/app", $BASIC, $KERBEROS, 'RequestHeader set Authorization "Basic Ym9iOnNlY3JldA=="'),
    location('/sticky', "ProxyPass $url/sticky", $BASIC, $KERBEROS),
    location('/default', 'ProxyPass http://localhost:' . $behind->{port} . '/default', $BASIC, 'RpcBackendAuth kerberos'),
    location('/other', "ProxyPass $url/other", $BASIC, 'RpcBackendAuth kerberos HTTP/other.test'),
    location('/unknown', "ProxyPass $url/unknown", $BASIC, 'RpcBackendAuth kerberos HTTP/unknown.test'),
    location('/nobody', "ProxyPass $url/nobody", $KERBEROS),
    location('/omit', "ProxyPass $url/omit", $BASIC, $KERBEROS, 'AuthNtlmOmitDomain On'),
    location('/error', "ProxyPass $url/error", $BASIC, $KERBEROS, 'ProxyErrorOverride On'),
    location('/doc', "ProxyPass $url/doc", $BASIC, $KERBEROS, 'ErrorDocument 502 /open/document'),
    location('/ajp', "ProxyPass ajp://127.0.0.1:$behind->{port}/", $BASIC, $KERBEROS),
    location('/basic', "ProxyPass $url/basic", $BASIC, 'RpcBackendAuth basic'),
    location('/basic/not', $GSSAPI),
    location('/basic/nobody', 'AuthType None', 'Require all granted'),
    location('/through', "ProxyPass $url/through", 'RpcBackendAuth passthrough'),
    location('/default/through', 'AuthType None', 'Require all granted', 'RpcBackendAuth passthrough'),
    location('/ntlm', "ProxyPass $url/ntlm", 'AuthType NTLM', 'AuthName x', 'AuthNtlmProvider file', "AuthNtlmUserFile $root/smbpasswd-$$",
        'Require valid-user', $KERBEROS),
    location('/gss', "ProxyPass $url/gss", $GSSAPI, $KERBEROS),
    $no_oidc ? () : location('/oidc', "ProxyPass $url/oidc", 'AuthType oauth20', 'Require valid-user', $KERBEROS),
    location('/remoteDesktopGateway/', 'SetHandler rpcproxy', 'RpcRequireTLS off', "RpcBackend * $url", $BASIC, $KERBEROS),
    location('/left', "ProxyPass $url/left", $GSSAPI, $KERBEROS, 'GssapiUseS4U2Proxy On', "GssapiDelegCcacheDir $root/left-$$",
        'GssapiDelegCcacheUnique On', 'GssapiCredStore client_keytab:' . $ad->keytab('front'), "GssapiCredStore ccache:FILE:$root/left-$$/own"),
    location('/wrong', "ProxyPass $url/wrong", $BASIC, $KERBEROS, "SetEnv KRB5CCNAME $carol"),
    location('/rpc/rpcproxy.dll', @RPC, "RpcBackend 127.0.0.1 http://127.0.0.1:$back->{port}/rpc/rpcproxy.dll", $BASIC, $KERBEROS),
    location('/by-ntlm/rpcproxy.dll', @RPC, "RpcBackend 127.0.0.1 http://127.0.0.1:$back->{port}/rpc/rpcproxy.dll", 'AuthType NTLM', 'AuthName x',
        'AuthNtlmProvider file', "AuthNtlmUserFile $root/smbpasswd-$$", 'Require valid-user', $KERBEROS),
    location('/refused/rpcproxy.dll', @RPC, "RpcBackend 127.0.0.1 $url/refused", $BASIC, $KERBEROS),
    location('/password/rpcproxy.dll', @RPC, "RpcBackend 127.0.0.1 $url/password", $BASIC, 'RpcBackendAuth basic'),
    "<Proxy balancer://behind>\nBalancerMember http://localhost:$behind->{port}\n</Proxy>",
    location('/balanced', 'ProxyPass balancer://behind/balanced', $BASIC, 'RpcBackendAuth kerberos'),
    "Listen 127.0.0.1:$tlsport\n<VirtualHost 127.0.0.1:$tlsport>\nSSLEngine On\nSSLCertificateFile $root/conf/server.crt\n"
        . "SSLCertificateKeyFile $root/conf/server.key\nSSLCACertificateFile @{[ $ca->certificate ]}\n"
        . location('/app', "ProxyPass $url/app", 'SSLVerifyClient require', 'SSLUserName SSL_CLIENT_S_DN_CN', $KERBEROS)
        . location('/dn', "ProxyPass $url/dn", 'SSLVerifyClient require', 'SSLUserName SSL_CLIENT_S_DN', $KERBEROS) . '</VirtualHost>',
);

# ---- who is who ----

subtest 'names' => sub {
    acts(get($front, '/app/', 'alice'), 'alice', 'a name is of the default realm; no RequestHeader replaces the token');
    acts(get($front, '/app/', 'Alice'), 'alice', 'the KDC knows no case');
    acts(get($front, '/app/', 'ADTEST\\alice'), 'alice', 'DOM\user, with a realm in krb5.conf');
    refused($front, get($front, '/app/', 'OTHER\\alice'), 403, qr/"OTHER\\\\+alice" .*no realm is known for the domain OTHER: .*"OTHER = REALM" in \[domain_realm\]/,
            'DOM\user without one');
    acts(get($front, '/omit/', 'OTHER\\alice'), 'alice', 'AuthNtlmOmitDomain: of the default realm, whatever domain is written');
    acts(get($front, '/app/', 'john'), 'john', 'a name is an account');
    acts(get($front, '/app/', 'john@mail.example'), 'jdoe (john\@mail.example@AD.TEST)', 'user@suffix is the account with this UPN, not the account user');
    acts(get($front, '/app/', 'alice@AD.TEST'), 'alice (alice\@AD.TEST@AD.TEST)', 'user@realm is the account with this UPN');
    refused($front, get($front, '/app/', 'HTTP/cas.test'), 403, qr{"HTTP/cas.test" does not go .*one of the characters}, 'the name of a service');
    refused($front, get($front, '/app/', 'HTTP@front.test'), 403, qr{the KDC knows no user HTTP\@front.test}, 'this server itself');
    refused($front, get($front, '/nobody/'), 403, qr{user "" does not go .*nobody has been authenticated here}, 'nobody');
    is(scalar(grep { $_->{uri} =~ m{^/(?:app|nobody)/} } @seen), 6, 'what is refused is not sent');
};

my ($alice) = map { chmod 0644, s/^FILE://r; $_ } $ad->login(alice => 'Wonder1and');

sub ticket {
    my ($cache) = @_;
    local $ENV{KRB5CCNAME} = $cache;
    my ($context, $status, $name, $token) = GSSAPI::Context->new;
    $status = GSSAPI::Name->import($name, 'HTTP/front.test@AD.TEST', GSSAPI::OID::gss_nt_krb5_name()) or die "$status\n";
    $status = $context->init(GSSAPI::GSS_C_NO_CREDENTIAL(), $name, GSSAPI::OID::gss_mech_spnego(), GSSAPI::GSS_C_MUTUAL_FLAG(), 0,
                             GSSAPI::GSS_C_NO_CHANNEL_BINDINGS(), '', undef, $token, undef, undef) or die "$status\n";
    return (headers => ['Authorization: Negotiate ' . encode_base64($token, '')]);
}

# What OpenID Connect sends for USER: a token that is good for SECONDS.
sub bearer {
    my ($user, $seconds) = @_;
    my $text = join '.', map { encode_base64url($_) } '{"alg":"HS256","typ":"JWT"}', sprintf '{"sub":"%s","iat":%d,"exp":%d}', $user, time - 7200, time + $seconds;
    return (headers => ["Authorization: Bearer $text." . encode_base64url(hmac_sha256($text, 'the-key-of-all-tokens-of-this-test'))]);
}

subtest 'any authentication' => sub {
    my $ntlm = RPCH::NTLM->new(user => 'alice', password => 'secret', domain => 'OTHER');
    my $http = RPCH::HTTP->dial(port => $front->{port}, name => 'NTLM');
    acts($ntlm->login($http, '/ntlm/'), 'alice', 'NTLM by a file: the domain that a client claims does not count');
    acts(get($front, '/ntlm/', undef, http => $http), 'alice', 'and on the same connection again, without any credentials');
    $http->close;
    my $tls = { SSL_ca_file => "$root/conf/server.crt", SSL_hostname => 'localhost', %{ $person{alice} } };
    acts(get({ port => $tlsport }, '/app/', undef, tls => $tls), 'alice', 'a certificate');
    refused($front, get({ port => $tlsport }, '/dn/', undef, tls => $tls), 403, qr/SSLUserName says which part/, 'its whole subject is no name');
    my $head = get($front, '/gss/', undef, ticket($alice));
    acts($head, 'alice', 'Kerberos, by the principal that mod_auth_gssapi names');
    like($head->{headers}{'www-authenticate'}, qr/^Negotiate (?!oRQwEqADCgEA)\S+$/, "the server's own proof goes to the client, not that of the server behind");
    acts(get($front, '/left/', undef, ticket($alice)), 'alice', 'Kerberos, by the ticket that mod_auth_gssapi has left');
  SKIP: {
        skip $no_oidc, 3 if $no_oidc;
        acts(get($front, '/oidc/', undef, bearer('alice', 60)), 'alice', 'a token of OpenID Connect');
        is(get($front, '/oidc/', undef, bearer('alice', -3600))->{status}, 401, 'one that has expired is none');
        refused($front, get($front, '/oidc/', undef, bearer('bob', 60)), 403, qr/"bob" does not go .*NOT_DELEGATED/, "a token of a user who is sensitive");
    }
    refused($front, get($front, '/wrong/', 'alice'), 403, qr/the ticket is not one of alice\@AD.TEST but of "carol\@AD.TEST": it is not used/,
            "somebody else's tickets in KRB5CCNAME");
};

subtest 'servers' => sub {
    acts(get($front, '/default/', 'alice'), 'alice', 'without a name: HTTP/ and the host of the URL');
    acts(get($front, '/balanced/', 'alice'), 'alice', 'or of the member of a balancer');
    refused($front, get($front, '/other/', 'alice'), 403,
            qr{HTTP/front.test\@AD.TEST may not delegate to HTTP/other.test\@AD.TEST: msDS-AllowedToDelegateTo of its account does not name}, 'a service that is not allowed');
    refused($front, get($front, '/unknown/', 'alice'), 502, qr{KDC knows no service HTTP/unknown.test\@AD.TEST: RpcBackendAuth kerberos has to name}, 'a service that is not there');
    refused($front, get($front, '/ajp/', 'alice'), 502, qr/ajp:.*for http, https, ws and wss/, 'a server that does not speak HTTP');
    refused($front, get($front, '/app/', 'bob'), 403, qr/a ticket of bob\@AD.TEST that must not be used .*NOT_DELEGATED/, 'a user who is sensitive');
    refused($front, get($front, '/app/', 'dora'), 403, qr/the KDC gives no ticket of dora\@AD.TEST: the account is disabled or locked/, 'a user who is disabled');
    refused($front, get($front, '/app/', 'nobody'), 403, qr/the KDC knows no user nobody\@AD.TEST/, 'a user who is not there');
};

# ---- what the server behind answers ----

subtest 'answers' => sub {
    my $head = get($front, '/app/', 'alice');
    is(join(', ', map { $_ => $head->{headers}{$_} // 'none' } qw(www-authenticate persistent-auth)), 'www-authenticate, none, persistent-auth, none',
       "what it says of its authentication does not reach the client");
    $refuse = 1;
    refused($front, get($front, '/app/', 'alice'), 502, qr{has refused the ticket of user "alice" \(alice\@AD.TEST for HTTP/cas.test\@AD.TEST\): 401, WWW-Authenticate: Negotiate,NTLM}, '401');
    refused($front, get($front, '/error/', 'alice'), 502, qr{refused the ticket(?s:.*)refused the ticket}, '401 with ProxyErrorOverride');
    refused($front, get($front, '/basic/', 'alice'), 403, qr{RpcBackendAuth basic: .*has refused the password of user "alice": 401}, '401 after Basic');
    get($front, '/doc/', 'alice');
    is("$seen[-1]{uri} $seen[-1]{user}", '/open/document Basic alice:secret', 'an ErrorDocument gets the credentials of the client');
    $refuse = 0;
};

subtest 'connections' => sub {
    @seen = ();
    my %client = map { $_ => RPCH::HTTP->dial(port => $front->{port}, name => $_) } qw(alice carol);
    for my $user ((qw(alice carol)) x 3) {
        acts(get($front, '/sticky/', $user, http => $client{$user}), $user, "$user at a server that asks a connection only once");
    }
    is(join(' ', map { $_->{n} } @seen), '1 1 1 1 1 1', 'each request has a connection of its own');
    $_->close for values %client;
    @seen = ();
    get($front, '/open/', undef, headers => ['Authorization: Basic eDp5']) for 1 .. 2;
    is($seen[1]{n}, $seen[0]{n} + 1, 'other requests share one');
    @seen = ();
    get($front, '/through/', undef, headers => ['Authorization: Negotiate AAAA']) for 1 .. 2;
    unlike(join(' ', map { $_->{n} } @seen[1 .. $#seen]), qr/[^1 ]/, 'passed through, a token is the last thing that a connection sees');
};

# ---- Basic ----

subtest 'Basic there' => sub {
    acts(get($front, '/basic/', 'alice'), 'Basic alice:secret', 'the password that was checked here goes on');
    is(get($front, '/basic/not/', undef, ticket($alice))->{status}, 403, 'without a password: 403');
    ok($front->logs(qr/authenticated by Negotiate, so there is no password/), 'and the log says why');
    refused($front, get($front, '/basic/nobody/', 'alice'), 403, qr/user "" does not go.*nobody has been authenticated here/, 'a password that nobody has checked');
    $refuse = 1;
    my $head = get($front, '/through/', 'alice');
    is("$head->{status} $head->{headers}{'www-authenticate'}", '401 Negotiate, NTLM', 'passed through: the challenge is for the client');
    $refuse = 0;
    acts(get($front, '/default/through/', 'mallory'), 'Basic mallory:secret', 'and its answer for the server behind');
};

# ---- RPC over HTTP ----

subtest 'channels' => sub {
    for my $user ('alice', 'ADTEST\\alice') {
        my $c = plain(port => $front->{port}, user => $user, password => 'secret', target => $server->target);
        ok(eval { $c->connect->works }, "a channel of $user") || diag $@;
        unlike($c->out->head->{headers}{'www-authenticate'} // '', qr/./, 'hears nothing of the authentication behind');
        $c->close;
    }
    ok($back->logs(qr/(?:^alice\@AD\.TEST "RPC_(?:IN|OUT)_DATA .*?){4}/ms, 'access_log'), 'the proxy behind has seen alice four times') || diag $back->log('access_log');
    my $c = plain(port => $front->{port}, user => 'bob', password => 'secret', target => $server->target);
    is($c->open_out->head->{status}, 403, 'a user who is sensitive has none');
    $c->close;
    ok($front->logs(qr/^bob "RPC_OUT_DATA .* 403 .* upstream-logon$/m, 'access_log'), 'RPC_REASON in the access log');
    unlike($front->log, qr/RPC_OUT_DATA refused/, 'and no second line in the error log');
    unlike($back->log('access_log'), qr/RPC_OUT_DATA.*RPC_OUT_DATA.*RPC_OUT_DATA/s, 'nor has the proxy behind heard of it');
    $c = plain(port => $front->{port}, user => undef, target => $server->target, path => '/by-ntlm/rpcproxy.dll');
    for my $which (qw(in out)) {
        my ($http, $open) = ($c->dial($which), "open_$which");
        is(RPCH::NTLM->new(user => 'alice', password => 'secret')->login($http, $c->uri, method => 'RPC_IN_DATA', length => 0)->{status}, 200, 'alice logs in by NTLM, with an echo');
        $c->$open(connection => $http, user => undef);
    }
    ok(eval { $c->send_a1->send_b1->opened; $c->works }, 'and has a channel on the same connection, without any credentials') || diag $@;
    $c->close;
    ok($back->logs(qr/(?:^alice\@AD\.TEST "RPC_(?:IN|OUT)_DATA .*?){8}/ms, 'access_log'), 'the proxy behind has seen alice each time') || diag $back->log('access_log');
    $c = plain(port => $front->{port}, user => 'alice', password => 'secret', target => $server->target, path => '/password/rpcproxy.dll');
    acts($c->open_out->head, 'Basic alice:secret', 'a channel, and Basic there');
    $c->close;
    $refuse = 1;
    for my $case (['kerberos', '/refused/rpcproxy.dll', 502], ['basic', '/password/rpcproxy.dll', 403]) {
        my ($mode, $path, $status) = @$case;
        $c = plain(port => $front->{port}, user => 'alice', password => 'secret', target => $server->target, path => $path);
        my $head = $c->open_out->head;
        is("$head->{status} " . ($head->{headers}{'www-authenticate'} // 'none'), '502 none', "a channel is answered 401 to $mode: 502");
        ok($front->logs(qr{ended: upstream-logon, .*what RpcBackendAuth has sent: 401}), 'as the log says');
        $c->close;
        refused($front, get($front, "$path?127.0.0.1:$server->{port}", 'alice', method => 'RPC_IN_DATA', length => 4, body => "\xf8\xe8\x18\x08"), $status,
                qr/RpcBackendAuth $mode: .*has refused the (?:ticket|password) of user "alice".*: 401/, "an echo, to $mode");
    }
    $refuse = 0;
};

# ---- RD Gateway ----

subtest 'RD Gateway' => sub {
    my %way = (RDG_OUT_DATA => [length => 0], RDG_IN_DATA => [headers => ['Transfer-Encoding: chunked']],
               GET => [headers => ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: abc']]);
    for my $method (sort keys %way) {
        my $http = RPCH::HTTP->dial(port => $front->{port}, name => $method);
        @seen = ();
        $http->request($method, '/remoteDesktopGateway/', user => 'alice', password => 'secret', @{ $way{$method} });
        wait_for('an answer', sub { $http->{head} || @{ $http->{interim} } || $http->{eof} });
        like($http->{head} ? $http->{head}{line} : $http->{interim}[0], qr/ (?:200|101) /, "$method: it is open");
        is(join(' ', map { "$_->{user} $_->{n}" } @seen), 'alice 1', "$method: as alice, at once");
        is($http->{head}{headers}{'www-authenticate'}, undef, "$method: she hears nothing of it") if $http->{head};
        $http->close;
        is(get($front, '/remoteDesktopGateway/', 'bob', method => $method, @{ $way{$method} })->{status}, 403, "$method: nobody is bob");
        $refuse = 1;
        my $head = get($front, '/remoteDesktopGateway/', 'alice', method => $method, @{ $way{$method} });
        is("$head->{status} " . ($head->{headers}{'www-authenticate'} // 'none'), '502 none', "$method: a ticket that is refused is no question to the client");
        $refuse = 0;
    }
};

# ---- this server's own account ----

subtest 'own account' => sub {
    my $nofront = httpd('nofront', location('/app', "ProxyPass $url/app", $BASIC, $KERBEROS));
    refused($nofront, get($nofront, '/app/', 'alice'), 403,
            qr{a ticket of alice\@AD.TEST that must not be used .*the account of HTTP/nofront.test\@AD.TEST lacks TRUSTED_TO_AUTH_FOR_DELEGATION}, 'without protocol transition');
    my $none = httpd('missing', location('/app', "ProxyPass $url/app", $BASIC, $KERBEROS));
    refused($none, get($none, '/app/', 'alice'), 502, qr{no keytab of this server's account: KRB5_CLIENT_KTNAME .*missing.keytab}, 'without a keytab');
    my $noupn = httpd('noupn', location('/app', "ProxyPass $url/app", $BASIC, $KERBEROS));
    refused($noupn, get($noupn, '/app/', 'alice'), 502, qr{the KDC does not know the principal of \S+ \(the account's userPrincipalName has to be}, 'whose userPrincipalName is another');

    # The keytabs of two accounts in one file: behind a version of two bytes, the entries
    my %keys = map { $_ => slurp($ad->keytab($_)) } qw(front nofront);
    for (['front', 'nofront'], ['nofront', 'front']) {
        my ($first, $second) = @$_;
        put($ad->keytab("$first+$second"), $keys{$first} . substr $keys{$second}, 2);
        chmod 0644, $ad->keytab("$first+$second");
        my $two = httpd("$first+$second", location('/app', "ProxyPass $url/app", $BASIC, $KERBEROS));
        is(get($two, '/app/', 'alice')->{status}, $first eq 'front' ? 200 : 403, "two accounts: $first is the first, and used");
    }

    is(waitpid($setup, 0) == $setup && $?, 0, 'the commands of the manual for an account') or diag slurp("$ad->{dir}/manual.log");
    chmod 0644, $ad->keytab('svc-proxy');
    local $ENV{KRB5_KTNAME} = $ad->keytab('svc-proxy');     # without KRB5_CLIENT_KTNAME
    my $made = httpd(undef, location('/app', "ProxyPass $url/app", $BASIC, $KERBEROS));
    acts(get($made, '/app/', 'alice'), 'alice', 'which is all that it needs');
};

# ---- what a user costs the KDC ----

# A child reaches the KDC by a way that counts connections, of which each is one request. Only its
# monotonic clock is moved, so tickets do not end: they are kept for an hour, and then fetched anew.
subtest 'requests to the KDC' => sub {
    my $world = RPCH::Preload->new or plan(skip_all => 'no compiler');
    my $way = RPCH::Balancer->new("$ad->{address}:$ad->{port}");
    put("$root/counted.conf", $ad->configuration =~ s/(udp_preference_limit =).*/$1 1/r =~ s/^(\s+kdc =).*/$1 127.0.0.1:$way->{port}/mr);
    local @ENV{qw(KRB5_CONFIG KRB5_CLIENT_KTNAME)} = ("$root/counted.conf", $ad->keytab('front'));
    my $one = RPCH::Httpd->new(mpm => 'event', limits => "ServerLimit 1\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\n",
        conf => join '', $LOAD, location('/app', "ProxyPass $url/app", $BASIC, $KERBEROS),
            location('/default', "ProxyPass http://localhost:$behind->{port}/default", $BASIC, 'RpcBackendAuth kerberos'),
            location('/rpc/rpcproxy.dll', @RPC, "RpcBackend 127.0.0.1 http://127.0.0.1:$back->{port}/rpc/rpcproxy.dll", $BASIC, $KERBEROS));
    $world->start($one);
    # How many requests DO makes.
    my $cost = sub { my ($do) = @_; my $before = $way->{taken}[0]; $do->(); return $way->{taken}[0] - $before };
    # What the first request of USER to PATH costs. A KDC that is too slow on a busy machine is asked again an hour later.
    my $first = sub {
        my ($user, $path) = @_;
        my ($head, $n);
        for my $try (1 .. 5) {
            $n = $cost->(sub { $head = get($one, $path, $user) });
            last if $head->{status} != 504;
            turn(1);
            $world->shift_by(0, 3600);
        }
        acts($head, $user, "$user, $path");
        return $n;
    };
    cmp_ok($first->('alice', '/app/'), '>', 2, "a child's first user costs more: its own ticket");
    is($first->('carol', '/app/'), 2, 'another one costs two requests');
    is($first->('carol', '/default/'), 2, 'and two more for another service');
    my $more = sub {
        for my $user (qw(alice carol)) {
            acts(get($one, '/app/', $user), $user, "$user again");
            ok(plain(port => $one->{port}, user => $user, password => 'secret', target => $server->target)->serves, "$user, by channels") for 1 .. 3;
        }
    };
    is($cost->($more), 0, 'more requests, and channels, cost none');
    $world->shift_by(0, 3300);
    is($cost->($more), 0, 'nor do they 55 minutes later');
    $world->shift_by(0, 301);
    is($first->('carol', '/app/'), 2, 'an hour later a user costs two again');
    $_->close for $way;
};

# ---- conf/sites/exchange.conf, with Kerberos ----

subtest 'a whole site' => sub {
    my $server_crt = "$root/conf/server.crt";
    my $exchange = RPCH::WebServer->new(answer => $behind->{answer}, tls => { SSL_cert_file => $server_crt, SSL_key_file => "$root/conf/server.key" });
    my $https = RPCH::Root::free_ports(1);
    my $site = RPCH::Httpd->site('exchange.conf', EXCHANGE_NAME => 'localhost', EXCHANGE => "https://localhost:$exchange->{port}",
        EXCHANGE_CERTIFICATE => $server_crt, EXCHANGE_KEY => "$root/conf/server.key", EXCHANGE_CA => $server_crt,
        EXCHANGE_LOGON => 'kerberos HTTP/cas.test', EXCHANGE_USERS => "$root/delegated") =~ s/<VirtualHost \*:443>/<VirtualHost 127.0.0.1:$https>/r;
    my $mail = httpd('front', "Listen 127.0.0.1:$https", $site);
    my %tls = (tls => { SSL_ca_file => $server_crt, SSL_hostname => 'localhost' });
    acts(get({ port => $https }, $_, 'alice', %tls), 'alice', $_) for '/owa/', '/ecp/', '/Autodiscover/Autodiscover.xml', '/Microsoft-Server-ActiveSync?Cmd=Sync';
    acts(get({ port => $https }, $_, 'carol', %tls, method => 'POST', length => 0), 'carol', "$_, another user") for '/EWS/Exchange.asmx', '/mapi/emsmdb/';
    acts(get({ port => $https }, '/rpc/rpcproxy.dll', 'alice', %tls, method => 'RPC_IN_DATA', length => 0), 'alice', 'an echo');
    my $c = RPCH::Client->new(port => $https, %tls, user => 'alice', password => 'secret', target => 'mail.example.com:6001', raw => 1);
    my $out = $c->open_out;
    $c->send_a1;
    acts($out->head, 'alice', 'a channel');
    is(get({ port => $https }, '/owa/', undef, %tls)->{status}, 401, 'nobody');
    refused($mail, get({ port => $https }, '/owa/', 'bob', %tls), 403, qr/"bob" does not go to https:.*NOT_DELEGATED/, 'a user who is sensitive');
    $_->close for $c, $exchange;
};

# ---- a KDC that is slow, or gone ----

# A KDC that is stopped takes connections and says nothing. No request is sent while it goes on, so a ticket can only
# be one that has come too late for a request before.
subtest 'a late answer' => sub {
    my $kdc = -$ad->{pid};
    my $ask = sub { kill STOP => $kdc; my $head = get($front, '/default/', 'carol'); kill CONT => $kdc; return $head };
    refused($front, $ask->(), 504, qr/"carol" .*no KDC has answered within 5 seconds/, 'the request does not wait for long');
    # Each time it goes on for longer: a busy machine may need that for all that makes up a ticket
    my ($pause, $head) = (0.3);
    ok(eval { wait_for('a ticket', sub { turn($pause); $pause *= 1.5; $head = $ask->(); $head->{status} == 200 }, 120) }, 'a ticket that comes later is there for the next request');
    acts($head, 'carol', 'as the same user');
};

subtest 'a restart' => sub {
    $front->signal('USR1');
    ok($front->logs(qr/resuming normal operations.*resuming normal operations/s), 'libkrb5 is unloaded and loaded');
    acts(get($front, '/app/', 'alice'), 'alice', 'and works');
};

subtest 'no KDC' => sub {
    $ad->stop;
    acts(get($front, '/app/', 'alice'), 'alice', 'a ticket that is kept is good for a new token') for 1 .. 2;
    refused($front, get($front, '/app/', 'jdoe'), 504, qr/"jdoe" .*no KDC of the realm answers: see krb5.conf/, 'a user without one');
    refused($front, get($front, '/app/', 'bob'), 504, qr/"bob" .*no KDC (?:has answered a moment ago|of the realm answers)/, 'nor the next');
};

subtest 'configtest' => sub {
    my $said = sub { local $ENV{KRB5_CLIENT_KTNAME} = "$root/none"; return join ' ', RPCH::Httpd->new(conf => join "\n", $LOAD, @_)->configtest };
    like($said->(location('/x', 'RpcBackendAuth ntlm')), qr/^1 .*"ntlm": expected passthrough, basic or kerberos/s, 'a word');
    like($said->(location('/x', 'RpcBackendAuth basic HTTP/x')), qr/^1 .*only kerberos has a second argument/s, 'too much');
    like($said->(location('/x', "RpcBackendAuth kerberos $_")), qr{^1 .*"\Q$_\E": expected the service principal name.* HTTP/cas.example.com}s, $_)
        for qw(cas.test HTTP/ /cas.test HTTP/a/b HTTP/a@ HTTP@a.test HTTP/a@b@c);
    like((RPCH::Httpd->new(conf => join "\n", reverse split /\n/, $LOAD)->configtest)[1], qr/mod_rpc_backend_auth\.so.*undefined symbol: proxy_/, 'loaded before mod_proxy');
    like($said->(location('/x', 'AuthType None', 'RpcBackendAuth basic')), qr/^0 .*RpcBackendAuth basic \(.* line \d+\): AuthType is None here/s, 'AuthType None');
    like($said->(location('/x', $BASIC, 'RpcBackendAuth kerberos')), qr/^0 .*no keytab of this server's account/s, 'no keytab');
    unlike($said->(location('/x', $BASIC, 'RpcBackendAuth basic')), qr/rpc_backend_auth/, 'nothing to say');
};

$_->close for $behind, $server;
done_testing;
