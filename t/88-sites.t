# The whole sites of conf/sites/, in one httpd, as they are but for the lines that an administrator has to
# change: where each of their locations leads, as whom, and what is not published.

use strict;
use warnings;
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::NTLM;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::RPC qw(contexts_pdu request_pdu rpc_parse);
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(headers proxy proxy_http));

my $RPC = '/rpc/rpcproxy.dll';
my ($MAIL, $RDG) = qw(mail.example.com rdg.example.com);
my $root = vars('serverroot');
my $users = "$root/conf/users";

put("$root/sites.cnf", "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\nCN=$MAIL\n[ext]\n"
    . "subjectAltName=DNS:$MAIL,DNS:autodiscover.example.com,DNS:$RDG\nbasicConstraints=critical,CA:TRUE\n");
my ($crt, $key) = ("$root/sites.crt", "$root/sites.key");
qx(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -config $root/sites.cnf -keyout $key -out $crt 2>&1);
is($?, 0, 'a certificate for both sites, on both sides');

# ---- Exchange: its RPC proxy is this module in another httpd, all else a double behind that ----

my (@seen, @hanging);
my $pages = RPCH::WebServer->new(answer => sub {
    my ($request, $peer) = @_;
    my ($host, $scheme, $credentials) = map { $request->{headers} =~ /^$_/mi ? ($1, $2 // ()) : '' } 'Host: (\S+)', 'Authorization: (\S+) (\S+)';
    push @seen, { %$request, host => $host, who => ($scheme // '') eq 'Basic' ? decode_base64($credentials) : $scheme // '' };
    return RPCH::WebServer::answer('401 Who', 'who', 'WWW-Authenticate: Negotiate', 'WWW-Authenticate: NTLM') if $request->{uri} =~ /who-are-you/;
    push @hanging, { %$request, peer => $peer } and return if $request->{uri} =~ /\?hang/;
    return RPCH::WebServer::answer('200 OK', 'a page');
});
my $server = server(echo => 1);
put("$root/sites.smbpasswd", RPCH::NTLM::smbpasswd_line(alice => 'secret'));
my $port = RPCH::Root::free_ports(1);
my $exchange = RPCH::Httpd->new(conf => <<"CONF")->start;
LoadModule proxy_module $modules/mod_proxy.so
LoadModule proxy_http_module $modules/mod_proxy_http.so
LogFormat "%u \\"%m %U\\" %>s kept=%k" rpc
Listen 127.0.0.1:$port
<VirtualHost 127.0.0.1:$port>
SSLEngine on
SSLCertificateFile $crt
SSLCertificateKeyFile $key
ProxyPreserveHost On
ProxyPass / http://127.0.0.1:$pages->{port}/ nocanon
<Location $RPC>
SetHandler rpcproxy
AuthType NTLM
AuthName rpc
AuthNtlmUserFile $root/sites.smbpasswd
AuthNtlmPinnedConnections On
AuthNtlmBasicProvider file
AuthUserFile $users
Require valid-user
RpcValidPorts $MAIL:1-65535
RpcBackend $MAIL ncacn_http:127.0.0.1[$server->{port}]
</Location>
</VirtualHost>
CONF

# ---- RD Gateway: a double ----

my $gateway = RPCH::WebServer->new(tls => { SSL_cert_file => $crt, SSL_key_file => $key }, answer => sub {
    my ($request, $peer) = @_;
    push @seen, $request;
    my ($token) = $request->{headers} =~ /^Authorization: NTLM (\S+)/m;
    return RPCH::WebServer::answer('200 OK', 'a page') if $request->{uri} =~ m{^/RDWeb/(?!FeedLogin)};
    return RPCH::WebServer::answer('401 Who', 'who', 'WWW-Authenticate: NTLM' . (defined $token ? ' AAAA' : ''))
        if ($token // '') ne 'BBBB';
    return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" if $request->{headers} =~ /^Upgrade: websocket/m;
    return "HTTP/1.1 200 OK\r\n\r\nwelcome" if $request->{method} eq 'RDG_OUT_DATA';
    return "HTTP/1.1 200 Success\r\nContent-Length: 1073741824\r\n\r\n" . rts('CONN/A3', timeout => 120_000)
        . rts('CONN/C2', window => 65536, timeout => 120_000) if $request->{method} eq 'RPC_OUT_DATA';
    return;
});

# ---- the sites ----

sub site { return RPCH::Httpd->site(@_) }
my %exchange = (EXCHANGE => "https://localhost:$port", EXCHANGE_CA => $crt, EXCHANGE_CERTIFICATE => $crt, EXCHANGE_KEY => $key,
                EXCHANGE_USERS => $users);
my %rdgateway = (RDGATEWAY => "https://localhost:$gateway->{port}", RDGATEWAY_CA => $crt, RDGATEWAY_CERTIFICATE => $crt, RDGATEWAY_KEY => $key);

# SITES at a port of the loopback. configtest says nothing, or what is in SAYS.
sub front {
    my ($says, @sites) = @_;
    my $at = RPCH::Root::free_ports(1);
    my $conf = join '', "Listen 127.0.0.1:$at\n", map { s/<VirtualHost \*:443>/<VirtualHost 127.0.0.1:$at>/r } @sites;
    my $httpd = RPCH::Httpd->new(limits => '', conf => $conf);
    $httpd->{https} = $at;
    my ($status, $said) = $httpd->configtest;
    like("$status $said", qr/\A0 ${says}Syntax OK\n\z/, 'configtest' . ($says ? ' says why Kerberos cannot work' : ' has nothing to say'));
    return $httpd;
}
{
    my @sites = grep { !/autodiscover|farm/ } glob 'conf/sites/*.conf';
    my %common = map { (slurp($_) =~ /^(# A channel holds no thread.*?)\n<VirtualHost/ms)[0] // $_ => 1 } @sites;
    is(scalar keys %common, 1, 'what the ' . @sites . ' sites share they have in the same words');
}
my $exchange_alone = site('exchange.conf', %exchange);
front('', $exchange_alone);
front('', site('rdgateway.conf', %rdgateway));
{
    local $ENV{KRB5_CLIENT_KTNAME} = "$root/none";
    front("[^\n]*no keytab[^\n]*\n", $exchange_alone =~ s/^# (?=Define EXCHANGE_LOGON +"kerberos )//mr);
}
my $both = front('', site('exchange.conf', %exchange, EXCHANGE_ALIASES => 'autodiscover.example.com other.example.com')
                     =~ s/ProxyTimeout +\K\d+/2/r,
                 site('rdgateway.conf', %rdgateway))->start;

my %tls = (SSL_ca_file => $crt);
sub dial { my ($httpd, $host, $name) = @_; return RPCH::HTTP->dial(port => $httpd->{https}, name => $name, tls => { %tls, SSL_hostname => $host }) }
# One request on a connection of its own: the answer's head, with its body, and what was seen of it.
sub ask {
    my ($httpd, $host, $method, $uri, %opt) = @_;
    @seen = ();
    my $http = dial($httpd, delete $opt{sni} // $host, "$method $uri")->request($method, $uri, host => $host, %opt);
    my $head = $http->head or return { status => 'closed' };
    $head->{body} = $http->body;
    $http->close;
    return $head;
}
my @alice = (user => 'alice', password => 'secret');
sub reached { return join ' ', map { "$_->{method} $_->{uri} $_->{host} $_->{who}" } @seen }
sub refused {
    my ($head, $status, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is("$head->{status} " . reached(), "$status ", "$name: $status, and nothing is asked behind");
}
sub works {
    my ($c, $host, $uuid, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = eval {
        $c->open_in(host => $host);
        $c->open_out(host => $host);
        $c->send_a1->send_b1->opened;
        rpc_parse($c->call(contexts_pdu([$uuid])));
        rpc_parse($c->call(request_pdu(1, $name)));
    };
    diag $@ if $@;
    $c->close;
    return is($answer && $answer->{stub}, $name, $name);
}
sub outlook { my ($httpd, $to) = @_; return client(port => $httpd->{https}, tls => { %tls, SSL_hostname => $MAIL }, target => "$MAIL:$to") }
my $EMSMDB = ['a4f1db00-ca47-1067-b31f-00dd010662da', 0x510000];
my $NSPI = ['f5cc5a18-4264-101a-8c59-08002b2f8426', 56];
my $SAMR = ['12345778-1234-abcd-ef00-0123456789ac', 1];

# ---- Exchange checks passwords ----

my @pages = ('/owa/?ae=Folder&t=IPF.Note', '/OWA', '/ecp/?p=PersonalSettings', '/EWS/Exchange.asmx', '/ews/mrsproxy.svc',
             '/OAB/0b1c/oab.xml', '/Autodiscover/Autodiscover.xml', '/autodiscover/autodiscover.json?Email=a%40b.c&Protocol=EWS',
             '/public/Ordner%20%C3%A4/?Cmd=contents', '/mapi/emsmdb/?MailboxId=0b1c@example.com',
             '/Microsoft-Server-ActiveSync?Cmd=Sync&User=EXAMPLE%5Calice');
sub all_reached {
    my ($httpd, $how) = @_;
    for my $uri (@pages) {
        my $method = $uri =~ /owa|ecp/i ? 'GET' : 'POST';
        my $head = ask($httpd, $MAIL, $method, $uri, length => 0, @alice);
        is("$head->{status} " . reached(), "200 $method $uri $MAIL alice:secret", "$how: $method $uri");
    }
}
all_reached($both, 'passed through');
ask($both, 'autodiscover.example.com', 'POST', '/autodiscover/autodiscover.xml', length => 0);
is(reached(), 'POST /autodiscover/autodiscover.xml autodiscover.example.com ', 'the other name, and nobody');
is(ask($both, $MAIL, 'POST', "$_/who-are-you", length => 0)->{headers}{'www-authenticate'}, qq(Basic realm="$MAIL"), "$_: Basic alone is offered")
    for qw(/EWS /OAB /Autodiscover /public /mapi /Microsoft-Server-ActiveSync);
is(ask($both, $MAIL, 'GET', '/')->{headers}{location}, "https://$MAIL/owa/", 'the root leads to OWA');
refused(ask($both, $MAIL, 'GET', $_), 404, $_) for qw(/powershell /exchange/ /rpc/ /owabc /RDWeb/ /remoteDesktopGateway/);
refused(ask($both, $MAIL, 'GET', '/owa/..%5Cpowershell'), 403, 'a backslash');
refused(ask($both, $MAIL, 'POST', '/EWS/Exchange.asmx', length => 70_000_000, @alice), 413, 'a body of 70 MB');
is(ask($both, 'other.example.com', 'GET', '/owa/', sni => $MAIL)->{status}, 500, 'a name that is not in the certificate behind');
is(reached(), '', 'and nothing is asked');

# mod_proxy and NTLM: kept is the number of requests before this one on the connection.
ask($both, $MAIL, 'POST', '/EWS/ntlm', length => 0, headers => ['Authorization: NTLM AAAA']) for 1 .. 2;
ask($both, $MAIL, 'POST', "/EWS/after-$_", length => 0) for 1 .. 2;
ok($exchange->logs(qr{/EWS/after-2}, 'access_log'), 'two requests behind two with NTLM');
is(join(' ', $exchange->log('access_log') =~ m{/EWS/(?:ntlm|after-.)" 200 (kept=\d+)}g) =~ s/^\S+ //r, 'kept=0 kept=0 kept=1',
   'a connection that has seen NTLM is not used again, others are');

# ActiveSync may wait for longer than all others
{
    my ($phone, $browser) = map { dial($both, $MAIL, $_)->request(POST => "$_?hang", host => $MAIL, length => 0) } '/Microsoft-Server-ActiveSync', '/owa/';
    like($browser->head->{status}, qr/^50[24]$/, 'a page whose time is over');
    my ($waits) = grep { $_->{uri} =~ /ActiveSync/ } @hanging;
    $waits->{peer}->put(RPCH::WebServer::answer('200 OK', 'mail'));
    is($phone->head->{status} . $phone->body, '200mail', 'a telephone still waits, and gets its answer');
    $_->close for $phone, $browser;
}

# RPC
works(outlook($both, 6001), $MAIL, $EMSMDB, 'RPC by Basic');
works(outlook($both, 6004), $MAIL, $NSPI, 'RPC: the address book');
{
    my $http = dial($both, $MAIL, 'NTLM');
    my $login = RPCH::NTLM->new(user => 'alice', password => 'secret');
    is($login->login($http, $RPC, method => 'RPC_IN_DATA', length => 0, host => $MAIL)->{status}, 200, 'RPC by NTLM');
    $http->close;
}
like($exchange->log('access_log'), qr{^alice "RPC_IN_DATA $RPC" 200}m, 'alice is known behind') if $exchange->logs(qr{^alice "RPC_IN_DATA}m, 'access_log');
is(ask($both, $MAIL, 'RPC_IN_DATA', $RPC, length => 0)->{headers}{'www-authenticate'} =~ s/ realm="[^"]*"//r, 'NTLM, Basic', 'what is offered');
for my $target ("$MAIL:593", "$RDG:6001", 'localhost:3388') {
    my $head = ask($both, $MAIL, 'RPC_OUT_DATA', "$RPC?$target", length => 76, @alice);
    like("$head->{status} $head->{reason}", qr/^503 RPC Error: 6ba/, "RPC: $target is refused");
}
{
    my $c = outlook($both, 6001);
    $c->open_in(host => $MAIL);
    $c->open_out(host => $MAIL);
    eval { $c->send_a1->send_b1->opened; $c->send(contexts_pdu([$SAMR])) };
    ok($both->logs(qr/bind to samr .*interface-refused/), 'RPC: a bind to samr is refused');
    is(join(' ', $both->log =~ /bind to (\S+) .* refused/g), 'samr', 'RPC: no other bind is');
    $c->close;
}

# ---- RD Gateway ----

sub rdg {
    my ($method, $token, %opt) = @_;
    my $http = delete $opt{http} // dial($both, $RDG, $method);
    push @{ $opt{headers} }, "Authorization: NTLM $token";
    return $http->request($method, '/remoteDesktopGateway/?x=1', host => $RDG, %opt);
}
sub arrives {
    my ($bytes, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(eval { wait_for($name, sub { grep { $_->{in} =~ /\Q$bytes\E/ } @{ $gateway->{peers} } }) }, $name);
}
{
    my @channels;
    for my $method (qw(RDG_OUT_DATA RDG_IN_DATA)) {
        push @channels, my $http = rdg($method, 'XXXX', length => 0);
        is($http->head->{headers}{'www-authenticate'} . $http->body, 'NTLM AAAAwho', "$method: NTLM passes");
        rdg($method, 'BBBB', http => $http, $method =~ /OUT/ ? (length => 0) : (headers => ['Transfer-Encoding: chunked']));
    }
    is($channels[0]->head->{status} . $channels[0]->body(7), '200welcome', 'RDG_OUT_DATA: a channel');
    $channels[1]->put("5\r\nhello\r\n");
    arrives("5\r\nhello\r\n", 'RDG_IN_DATA: a channel');
    push @channels, my $socket = rdg('GET', 'BBBB', headers => ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: abc'])->put('frames');
    wait_for('101', sub { @{ $socket->{interim} } || $socket->{head} || $socket->{eof} });
    is($socket->{interim}[0], 'HTTP/1.1 101 Switching Protocols', 'a WebSocket');
    arrives('frames', 'a WebSocket: what the client sends');
    $_->close for @channels;
}
for my $path ($RPC, '/rpcWithCert/rpcproxy.dll') {
    my $c = client(port => $both->{https}, tls => { %tls, SSL_hostname => $RDG }, target => 'localhost:3388', path => $path, user => undef,
                   headers => ['Authorization: NTLM BBBB']);
    $c->open_in(host => $RDG);
    $c->open_out(host => $RDG);
    ok(eval { $c->send_a1->send_b1->opened }, "RPC by $path");
    $c->close;
    my $head = ask($both, $RDG, 'RPC_OUT_DATA', "$path?localhost:3389", length => 76);
    like("$head->{status} $head->{reason}", qr/^503 RPC Error: 6ba/, "$path: another port is refused");
}
is(ask($both, $RDG, 'GET', '/RDWeb/Pages/en-US/Default.aspx?a=%20b')->{body} . $seen[0]{uri}, 'a page/RDWeb/Pages/en-US/Default.aspx?a=%20b', 'a page of RD Web Access');
is(ask($both, $RDG, 'GET', '/RDWeb/FeedLogin/WebFeedLogin.aspx')->{headers}{'www-authenticate'}, qq(Basic realm="$RDG"), 'the feed offers Basic alone');
is(ask($both, $RDG, 'GET', '/')->{headers}{location}, "https://$RDG/RDWeb/", 'the root leads to RD Web Access');
refused(ask($both, $RDG, 'GET', $_), 404, $_) for qw(/owa/ /RDWebber);
refused(ask($both, $RDG, 'POST', '/RDWeb/Pages/', length => 2_000_000), 413, 'a body of 2 MB');
refused(ask($both, $RDG, 'GET', '/RDWeb/..%5Cother'), 403, 'a backslash');
refused(ask($both, $RDG, 'GET', '/remoteDesktopGateway/'), 405, 'no channel');

my ($start) = $both->log =~ /^(.*?resuming normal operations)/s;
is(join('', grep { /:(?:warn|error)\]/ && !/open files|is a CA certificate|Session Cache is not configured|compiled against a newer library/ } $start =~ /^.*\n/mg), '', 'nor has the start');

# ---- httpd checks passwords ----

my $here = front('', $exchange_alone =~ s/^# (?=Define EXCHANGE_LOGON +basic)//mr)->start;
all_reached($here, 'authenticated here');
refused(ask($here, $MAIL, 'GET', $_), 401, "nobody at $_") for @pages;
refused(ask($here, $MAIL, 'GET', $pages[0], user => 'alice', password => 'wrong'), 401, 'a wrong password');
is(ask($here, $MAIL, 'RPC_IN_DATA', $RPC, length => 0)->{status}, 401, 'RPC: nobody');
works(outlook($here, 6001), $MAIL, $EMSMDB, 'RPC, authenticated here');

$_->close for $server, $pages, $gateway;
done_testing;
