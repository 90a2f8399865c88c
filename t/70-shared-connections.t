# NTLM binds a connection to one user. Front ends send requests of several clients on one connection; the
# module recognises them, and no client is served as another user.

use strict;
use warnings;
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use RPCH::File qw(put);
use RPCH::Front;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs needs_modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::Root;
use RPCH::Test;

needs(qw(haproxy nginx-light));
my $modules = needs_modules(qw(headers remoteip proxy proxy_http));

# ---- the server: a page for each kind of trust; its answer names the user ----

my %own = map { $_ => RPCH::Root::free_ports(1) } qw(remoteip internal early pp);
my $httpd = RPCH::Httpd->new;
my $users = "$httpd->{dir}/smbpasswd";
put($users, smbpasswd_line(alice => 'secret'), smbpasswd_line(bob => 'hidden'));
put("$httpd->{dir}/page", "page\n");

sub location {
    my ($path, $more) = @_;
    return "<Location $path>\nAuthType NTLM\nAuthName here\nAuthNtlmUserFile $users\nAuthNtlmNegotiate On\n"
         . "AuthNtlmTargets any\nRequire valid-user\nHeader set X-Who expr=%{REMOTE_USER}\n"
         . ($more // '') . "</Location>\n";
}

my %special = (
    remoteip => "RemoteIPHeader X-Who-Asks\nRemoteIPInternalProxy 127.0.0.1",
    internal => "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1",
    early    => 'RequestHeader unset X-Forwarded-For early',
    pp       => 'RemoteIPProxyProtocol On',
);
$httpd->configure(<<"CONF" . join '', location('/in'), location('/pinned', "AuthNtlmPinnedConnections On\n"),
LoadModule headers_module $modules/mod_headers.so
LoadModule remoteip_module $modules/mod_remoteip.so
KeepAlive On
MaxKeepAliveRequests 0
LogLevel auth_ntlm:info
AliasMatch ^/(?:in|pinned)\$ $httpd->{dir}/page
<Directory $httpd->{dir}>
    Require all granted
</Directory>
CONF
    location('/rpc/rpcproxy.dll', "SetHandler rpcproxy\nRpcRequireTLS off\nRpcValidPorts 127.0.0.1:1024-65535\n"),
    map { "Listen 127.0.0.1:$own{$_}\n<VirtualHost 127.0.0.1:$own{$_}>\nServerName localhost\n"
          . "$special{$_}\n</VirtualHost>\n" } sort keys %special);
$httpd->start;

# ---- the fronts ----

my $keep = "proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection '';";
my $nginx = RPCH::Front->nginx($httpd->{port}, plain => $keep,
    forwarded => "$keep proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;",
    real => "$keep proxy_set_header X-Real-IP \$remote_addr;");
my $haproxy = RPCH::Front->haproxy($httpd->{port}, plain => '', forwarded => 'option forwardfor');
my $mod_proxy = RPCH::Httpd->new(conf => "LoadModule proxy_module $modules/mod_proxy.so\n"
    . "LoadModule proxy_http_module $modules/mod_proxy_http.so\nProxyPass / http://127.0.0.1:$httpd->{port}/\n")->start;
my %front = (nginx => $nginx->{port}{plain}, 'nginx with X-Forwarded-For' => $nginx->{port}{forwarded},
             'nginx with X-Real-IP' => $nginx->{port}{real}, HAProxy => $haproxy->{port}{plain},
             'HAProxy with forwardfor' => $haproxy->{port}{forwarded}, mod_proxy => $mod_proxy->{port});

# ---- steps ----

sub dial { my ($port) = @_; return RPCH::HTTP->dial(port => $port // $httpd->{port}, name => 'connection') }
sub alice { return RPCH::NTLM->new(@_) }
sub bob { return RPCH::NTLM->new(user => 'bob', password => 'hidden') }
sub ask { return RPCH::NTLM::ask(@_) }
sub get { my ($http, $path, @headers) = @_; return ask($http, $path, undef, headers => \@headers) }
# The status, and the user in the answer.
sub seen { my ($answer) = @_; return join ' ', $answer->{status}, $answer->{headers}{'x-who'} // () }

# ---- never mixed ----

# Alice and bob log on again and again, and in between a stranger sends requests, all on connections to
# the front end that stay open. Returns what each of them has got, by name.
sub crowd {
    my ($port, $path, $rounds) = @_;
    my %http = map { $_ => dial($port) } qw(alice bob stranger);
    my (%got, %login) = ();
    for my $round (1 .. $rounds) {
        for my $name ($round % 2 ? qw(alice stranger bob) : qw(bob stranger alice)) {
            my $answer = $name ne 'stranger' && $round % 10 == 1
                ? ($name eq 'alice' ? alice() : bob())->login($http{$name}, $path) : get($http{$name}, $path);
            $http{$name} = dial($port) if $http{$name}{eof};
            $got{$name}{ seen($answer) }++;
        }
    }
    $_->close for values %http;
    return \%got;
}

sub mixed {
    my ($got) = @_;
    my @mixed;
    for my $name (sort keys %$got) {
        push @mixed, map { "$name: $_" } grep { /^200/ && $_ ne "200 $name" } sort keys %{ $got->{$name} };
    }
    return join ', ', @mixed;
}

for my $name (sort keys %front) {
    my $got = crowd($front{$name}, '/in', 56);
    is(mixed($got), '', "$name, a thousand requests with those of the other fronts: nobody is somebody else");
    my $taken = $name =~ /^(?:nginx|HAProxy)$/ ? 1 : 0;
    is((grep { /^200/ } keys %{ $got->{alice} }) ? 1 : 0, $taken,
        "$name: " . ($taken ? 'a login is for its request' : 'NTLM is not taken'));
    is(join(' ', grep { !/^40[13]$/ } keys %{ $got->{stranger} }), '', "$name: a stranger gets nothing");
}
isnt(mixed(crowd($front{nginx}, '/pinned', 3)), '',
    'nginx pins nothing: with AuthNtlmPinnedConnections On alice\'s page goes to others');
for my $name (qw(nginx mod_proxy)) {
    my ($http, $other) = (dial($front{$name}), dial($front{$name}));
    my $uri = '/rpc/rpcproxy.dll?127.0.0.1:6001';
    alice()->login($http, $uri, method => 'RPC_IN_DATA', length => 0);
    $other->request('RPC_OUT_DATA', $uri, length => 76)->put('x' x 76);
    like($other->head->{status}, qr/^40[13]$/, "$name: nor does a stranger get a channel");
    $_->close for $http, $other;
}
{
    my $http = dial($haproxy->{port}{forwarded});
    is(seen(alice()->login($http, '/pinned')), '200 alice',
        'HAProxy, which pins a connection with NTLM on it, AuthNtlmPinnedConnections On');
    is(seen(get($http, '/pinned')), '200 alice', 'keeps the login');
    $http->close;
}

# ---- fields of a request that show a front end ----

my @fields = (
    'Via: 1.1 front', 'X-Forwarded-For: 192.0.2.1', 'x-forwarded-for: 127.0.0.1', 'X-Forwarded-Host: x',
    'X-Forwarded-Proto: https', 'X-Forwarded-Server: x', 'X-Forwarded: for=x', 'Forwarded: for=192.0.2.1',
    'X-Real-IP: 192.0.2.1', 'X-Client-IP: 192.0.2.1', 'True-Client-IP: 192.0.2.1', 'CF-Ray: 1', 'X-Original-URL: /',
    'X-ARR-LOG-ID: 1', 'X-Envoy-External-Address: 192.0.2.1', 'Front-End-Https: On', 'X-Varnish: 1', 'CDN-Loop: x',
);
for my $field (@fields) {
    my $http = dial();
    my ($name) = $field =~ /^([^:]+)/;
    my $mark = () = $httpd->log =~ /NTLM is neither/g;
    my $login = alice()->login($http, '/in', headers => [$field]);
    is("$login->{status} " . ($login->{headers}{'www-authenticate'} // ''), '403 ', "$field: NTLM is neither offered nor taken");
    is(seen(alice()->login($http, '/in')), '200 alice', 'without it it is');
    is(seen(get($http, '/in')), '200 alice', 'and is kept');
    is(seen(get($http, '/in', $field)), '403', 'but not for a request with it');
    is(seen(get($http, '/in')), '401', 'which ends the login');
    like($httpd->log, qr/:info\].* NTLM is neither offered nor accepted here: a proxy \(\Q$name\E\) may share the connection /,
        'the log says why');
    is(scalar(() = $httpd->log =~ /NTLM is neither/g) - $mark, 1, 'once a connection');
    $http->close;
}
{
    my ($http, $raw) = (dial(), alice());
    is($raw->login($http, '/in', scheme => 'Negotiate', headers => ['X-Real-IP: 192.0.2.1'])->{status}, 403, 'nor under the name Negotiate');
    $http->close;
}

# ---- fields that a module has removed from the request ----

for (['a header of mod_remoteip', 'remoteip', 'X-Who-Asks: 192.0.2.1'],
     ['with the address of the connection', 'remoteip', 'X-Who-Asks: 127.0.0.1'],
     ['X-Forwarded-For, used up by mod_remoteip', 'internal', 'X-Forwarded-For: 127.0.0.1'],
     ['removed early by mod_headers', 'early', 'X-Forwarded-For: 192.0.2.1']) {
    my ($name, $host, $field) = @$_;
    my $http = dial($own{$host});
    is(alice()->login($http, '/in', headers => [$field])->{status}, 403, "$name: 403");
    is(seen(alice()->login($http, '/in')), '200 alice', 'without it 200');
    $http->close;
}
{
    my $http = dial($own{pp});
    $http->put("PROXY TCP4 192.0.2.1 127.0.0.1 5000 80\r\n");
    is(seen(alice()->login($http, '/in')), '200 alice', 'the PROXY protocol alone is no sign');
    is(seen(get($http, '/in')), '200 alice', 'and the login is kept');
    $http->close;
}

# ---- a front end that pins connections to clients ----

{
    my $http = dial();
    my @from = map { "X-Forwarded-For: 192.0.2.$_" } 1, 2;
    is(seen(alice()->login($http, '/pinned', headers => [$from[0]])), '200 alice', 'AuthNtlmPinnedConnections On: taken');
    is(seen(get($http, '/pinned', $from[0])), '200 alice', 'and kept');
    is(seen(get($http, '/in')), '401', 'not where it is not set');
    is(seen(alice()->login($http, '/pinned', headers => [$from[0]])), '200 alice', 'again');
    is(seen(get($http, '/pinned', $from[1])), '401', 'another address behind the front: asked again');
    my ($first, $second) = map { qr/"127\.0\.0\.1 192\.0\.2\.$_ "/ } 1, 2;
    like($httpd->log, qr/:info\].* the connection is shared: its handshake came from $first, and a request comes from $second/,
        'the log says so');
    is(seen(get($http, '/pinned', $from[0])), '401', 'and so is the first');
    my $ntlm = alice();
    $ntlm->knock($http, '/pinned', headers => [$from[0]]);
    is(ask($http, '/pinned', $ntlm->authenticate, headers => [$from[1]])->{status}, 401,
        'the two messages come from two');
    $http->close;
    $http = dial($own{remoteip});
    is(seen(alice()->login($http, '/pinned', headers => ['X-Who-Asks: 192.0.2.1'])), '200 alice', 'with mod_remoteip');
    is(seen(get($http, '/pinned', 'X-Who-Asks: 192.0.2.2')), '401', 'another address');
    $http->close;
}

# ---- without Connection: keep-alive ----

# The request is written by hand, because RPCH::HTTP always sends this field.
sub bare {
    my ($http, $path, @headers) = @_;
    $http->{head} = undef;
    $http->put(join "\r\n", "GET $path HTTP/1.1", 'Host: localhost', @headers, '', '');
    my $head = $http->head;
    return { status => $head->{status}, headers => $head->{headers}, body => $http->body };
}
sub bare_login {
    my ($http, $path, @headers) = @_;
    my $ntlm = alice();
    my $say = sub { return bare($http, $path, 'Authorization: NTLM ' . encode_base64($_[0], ''), @headers) };
    my ($token) = $say->($ntlm->negotiate)->{headers}{'www-authenticate'} =~ /NTLM (\S+)/;
    $ntlm->challenge(decode_base64($token));
    return $say->($ntlm->authenticate);
}
{
    my $http = dial();
    is(seen(bare_login($http, '/in')), '200 alice', 'no Connection: keep-alive: a login');
    is(seen(bare($http, '/in')), '401', 'is for its request alone');
    is(seen(bare_login($http, '/in')), '200 alice', 'and may be made again');
    like($httpd->log, qr/:info\].* NTLM: each request on this connection needs a login of its own/, 'the log says so');
    is(seen(bare_login($http, '/in', 'Connection: TE, Keep-Alive')), '200 alice', 'in a list');
    is(seen(bare($http, '/in')), '200 alice', 'the login is kept');
    is(seen(bare_login($http, '/pinned')), '200 alice', 'a front that pins need not say so');
    is(seen(bare($http, '/pinned')), '200 alice', 'kept');
    $http->close;
}

my @bad = grep { /exit signal|:(?:error|crit|alert|emerg)\]/ } $httpd->log =~ /^.*\n/mg;
is(join('', @bad), '', 'no child has died, and nothing is an error');
done_testing;
