# Modules that change or watch what a connection carries, all of them set up for the whole server, as
# distributions and administrators do: none sees, delays or changes a channel, and each still does its work for
# other requests, for what is refused, and for the header of an answer.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::File qw(put);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::Poll qw(turn wait_for);
use RPCH::Relay;
use RPCH::Root;
use RPCH::Status qw(status_conf);
use RPCH::Test;

my $modules = modules();
my $root = vars('serverroot');
my $server = server(echo => 1);
my @loaded = grep { -e "$modules/mod_$_.so" } qw(filter headers deflate brotli ratelimit remoteip unique_id security2 cgi), vars('mpm') eq 'prefork' ? () : 'http2';
my %has = map { $_ => 1 } @loaded;
my %port = map { $_ => RPCH::Root::free_ports(1) } qw(tls proxied);
my %deny = map { $_ => RPCH::Root::free_ports(1) } qw(words page redirect tls script);
my $httpd = RPCH::Httpd->new;
put("$httpd->{dir}/smbpasswd", smbpasswd_line(alice => 'secret'));
put("$httpd->{dir}/page.html", 'a page ' x 1000);
put("$httpd->{dir}/denied.html", 'a page that says no');
mkdir "$httpd->{dir}/$_" for qw(script state);
put("$httpd->{dir}/script/long", <<"PERL");
#!$^X
use Time::HiRes;
print "Content-Type: text/plain\n\n", 'x' x 100_000;
\$| = 1;
Time::HiRes::sleep(0.02) until -e '$httpd->{dir}/state/go';
print 'y' x 80_000 for 1 .. 100;
PERL
chmod 0755, "$httpd->{dir}/script/long";
my $tls = RPCH::Httpd->tls_lines;
sub denying_host {
    my ($name) = @_;
    my $page = $name eq 'page' ? 'ErrorDocument 403 /denied.html' : $name eq 'script' ? "ErrorDocument 403 /script/long" : '';
    my $way = $name eq 'redirect' ? 'redirect:http://localhost/elsewhere' : 'deny,status:403';
    return <<"CONF" . ($name eq 'tls' ? $tls : '') . "</VirtualHost>\n";
Listen 127.0.0.1:$deny{$name}
<VirtualHost 127.0.0.1:$deny{$name}>
ServerName localhost
$page
SecRule RESPONSE_CONTENT_TYPE "\@streq application/rpc" "id:7,phase:3,$way"
CONF
}
my $security = !$has{security2} ? '' : <<"CONF";
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit 1073741824
SecResponseBodyAccess On
SecResponseBodyMimeType text/html application/rpc
SecTmpDir $httpd->{dir}
SecDataDir $httpd->{dir}
SecAuditEngine On
SecAuditLogParts AFHZ
SecAuditLogRelevantStatus .
SecAuditLog $httpd->{dir}/audit_log
SecRule REQUEST_METHOD "\@rx ." "id:1,phase:1,pass,log,msg:'phase one'"
SecRule RESPONSE_STATUS "\@rx ." "id:3,phase:3,pass,log,msg:'phase three %{RESPONSE_STATUS}'"
SecRule REQUEST_METHOD "\@rx ." "id:5,phase:5,pass,log,msg:'phase five'"
Alias /denied.html $httpd->{dir}/denied.html
@{[ map { denying_host($_) } sort keys %deny ]}
CONF
$httpd->configure(join '', map({ "LoadModule ${_}_module $modules/mod_$_.so\n" } @loaded), $has{http2} ? "Protocols h2 http/1.1\n" : '', $security, status_conf(), <<"CONF", RPCH::Httpd->location)->start;
RemoteIPHeader X-Client
RemoteIPTrustedProxy 127.0.0.1
RequestReadTimeout header=5-10,MinRate=500 body=1,MinRate=100000
LimitRequestBody 65536
SetOutputFilter @{[ join ';', $has{brotli} ? 'BROTLI_COMPRESS' : (), 'DEFLATE', 'RATE_LIMIT' ]}
SetInputFilter DEFLATE
<LocationMatch "^/(rpc|ntlm)/">
SetEnv rate-limit 1
</LocationMatch>
ErrorDocument 401 "log on"
ErrorDocument 503 "later"
ErrorDocument 403 "no"
Header always set X-Always always
Header set X-Success success
LogFormat "%a %u %r %>s" who
CustomLog who_log who
Alias /page.html $httpd->{dir}/page.html
@{[ $has{cgi} ? "ScriptAlias /script/ $httpd->{dir}/script/" : '' ]}
<Directory $httpd->{dir}>
Require all granted
</Directory>
<Location /ntlm/rpcproxy.dll>
SetHandler rpcproxy
AuthType NTLM
AuthName here
AuthNtlmUserFile $httpd->{dir}/smbpasswd
Require valid-user
RpcValidPorts 127.0.0.1:1024-65535
</Location>
Listen 127.0.0.1:$port{tls}
<VirtualHost 127.0.0.1:$port{tls}>
ServerName localhost
$tls
</VirtualHost>
Listen 127.0.0.1:$port{proxied}
<VirtualHost 127.0.0.1:$port{proxied}>
ServerName localhost
RemoteIPProxyProtocol On
$tls
</VirtualHost>
CONF

# A channel in both directions, larger than a filter could let pass in time.
sub unharmed {
    my ($c, $name) = @_;
    my %head = %{ $c->out->head->{headers} };
    is($head{'x-always'}, 'always', "$name: the header of the answer has what modules add");
    is($head{'x-success'}, 'success', "$name: on success, too");
    is($head{'content-encoding'}, undef, "$name: it is not compressed");
    is($head{'content-type'}, 'application/rpc', "$name: and of its own type");
    is(scalar(grep { $c->works('x' x 5000) } 1 .. 100), 100, "$name: a megabyte, as fast as it comes");
    return $c->close;
}
my %tls = (tls => { SSL_ca_file => "$root/conf/server.crt", SSL_hostname => 'localhost', $has{http2} ? (SSL_alpn_protocols => ['http/1.1']) : () });
unharmed(RPCH::Client->new(port => $port{tls}, %tls, target => $server->target, user => 'alice', password => 'secret', headers => ['X-Client: 192.0.2.9', 'Accept-Encoding: br, gzip'])->connect, 'Basic, over TLS');
ok($httpd->logs(qr/^192\.0\.2\.9 alice RPC_OUT_DATA \S+ HTTP\/1\.1 200$/m, 'who_log'), 'the client is the one that the front end names');
ok($httpd->logs(qr/RPC_IN_DATA channel .* client 192\.0\.2\.9,/), 'in the error log, too');

SKIP: {
    my $front = RPCH::Relay->new($port{proxied}, "PROXY TCP4 192.0.2.7 127.0.0.1 5000 443\r\n") or skip 'no compiler, or no libssl', 7;
    my $c = RPCH::Client->new(port => $front->{port}, path => '/ntlm/rpcproxy.dll', target => $server->target);
    for my $way (qw(in out)) {
        my ($http, $ntlm) = ($c->dial("$way channel"), RPCH::NTLM->new);
        is($ntlm->knock($http, $c->uri, method => 'RPC_' . uc($way) . '_DATA', length => 0)->{status}, 401, "NTLM: a challenge for $way");
        my $open = "open_$way";
        $c->$open(connection => $http, headers => ['Authorization: NTLM ' . encode_base64($ntlm->authenticate, '')]);
    }
    unharmed($c->send_a1->send_b1->opened, 'NTLM, over TLS behind a PROXY line');
    ok($httpd->logs(qr/^192\.0\.2\.7 alice RPC_OUT_DATA \S+ HTTP\/1\.1 200$/m, 'who_log'), 'the client is the one of the PROXY line');
}

# ---- what is refused, and other requests ----
my $refused = RPCH::Client->new(port => $port{tls}, %tls, target => '127.0.0.1:' . refused_port(), user => 'alice', password => 'secret');
$refused->open_out;
$refused->send_a1;
is($refused->out->head->{headers}{'x-always'}, 'always', 'a server that is not there: the header has what modules add');
is_rpc_error($refused->out, '6ba', 'and ErrorDocument does not take its place', 0x5a0);
$refused->close;
my $http = RPCH::HTTP->dial(port => $httpd->{port}, name => 'a stranger')->request('RPC_IN_DATA', '/rpc/rpcproxy.dll', length => 0);
is_answer($http->head, 401, 'who has not logged on');
$http->close;
$http = RPCH::HTTP->dial(port => $httpd->{port}, name => 'a page')->request('GET', '/page.html', headers => ['Accept-Encoding: gzip']);
is(join(' ', map { $_ // '-' } $http->head->{status}, $http->head->{headers}{'content-encoding'}), '200 gzip', 'a page is compressed');
$http->close;

# ---- mod_security: its phases and its audit log, when the channel begins ----
SKIP: {
    skip 'no mod_security', 3 if !$has{security2};
    put("$httpd->{dir}/audit_log", '');
    my $of_channels = sub { return join '', grep { /^Apache-Handler: rpcproxy$/m } split /^--\w+-A--$/m, $httpd->log('audit_log') };
    my $phases = sub { my ($phase) = @_; return scalar(() = $of_channels->() =~ /^Message: .*\[msg "phase $phase"\]/mg) };
    my $c = RPCH::Client->new(port => $port{tls}, %tls, target => $server->target, user => 'alice', password => 'secret')->connect;
    ok($httpd->logs(qr/(?:^Apache-Handler: rpcproxy\n.*){2}/ms, 'audit_log'), 'the audit log has both channels as soon as they are open') or diag $httpd->log('audit_log');
    is(join(' ', map { $phases->($_) } 'three 200', 'five'), '2 2', 'each has passed the phases of an answer once') or diag $httpd->log('audit_log');
    ok($c->works, 'and goes on');
    $c->close;
}

# ---- mod_security: a rule of phase 3 that denies what would open a channel ----
SKIP: {
    skip 'no mod_security', 46 if !$has{security2};
    my $files = sub { my ($pid) = @_; return scalar(() = glob "/proc/$pid/fd/*") };
    my %before = map { $_ => $files->($_) } $httpd->children;
    for (['words', 403, qr/^no$/], ['page', 403, qr/^a page that says no$/], ['redirect', 302, qr/elsewhere/], ['tls', 403, qr/^no$/]) {
        my ($name, $status, $body) = @$_;
        for my $method (qw(RPC_OUT_DATA RPC_IN_DATA)) {
            my ($log, $access) = map { length $httpd->log($_) } qw(error_log access_log);
            my $http = RPCH::HTTP->dial(port => $deny{$name}, name => "$method, $name", $name eq 'tls' ? %tls : ())
                ->request($method, '/rpc/rpcproxy.dll?' . $server->target, user => 'alice', password => 'secret', length => $method eq 'RPC_IN_DATA' ? 1 << 30 : 76);
            is_answer($http->head, $status, "denied in phase 3, $method, $name");
            ok(eval { $http->wait_eof }, 'and it is the end');
            like($http->{in}, $body, 'with what httpd has to say');
            $http->close;
            ok(eval { wait_for('the line', sub { turn(0.02); substr($httpd->log('access_log'), $access) =~ /"\Q$method\E .*" $status .* other-module$/m }) }, 'RPC_REASON is known');
            is(join("\n", substr($httpd->log, $log) =~ /rpcproxy:warn\].* (\S+ refused: .*?)\. /g), "$method refused: other-module: another module has answered $status in place of the header of the channel's response",
                'and the log has one line');
        }
    }
    SKIP: {
        skip 'no mod_cgi', 4 if !$has{cgi};
        my $mark = length $httpd->log;
        my $http = RPCH::HTTP->dial(port => $deny{script}, name => 'a long answer')
            ->request('RPC_OUT_DATA', '/rpc/rpcproxy.dll?' . $server->target, user => 'alice', password => 'secret', length => 76);
        is_answer($http->head, 403, 'a long answer of a filter');
        ok(eval { wait_for('its beginning', sub { turn(0.02); length $http->{in} >= 100_000 }) }, 'comes as it is made: nothing is collected');
        put("$httpd->{dir}/state/go", '');
        is(($http->body(1 << 30) =~ tr/xy//), 8_100_000, 'and comes whole');
        $http->close;
        ok(eval { wait_for('the line', sub { turn(0.02); substr($httpd->log, $mark) =~ /rpcproxy:warn\].* RPC_OUT_DATA refused: other-module: another module has answered 403 in place/ }) },
            'and the log has its line');
    }
    ok(RPCH::Status->new(port => $httpd->{port})->awaits(sub { $_[0]{channels} == 0 }), 'none is counted');
    ok(eval { wait_for('the files', sub { turn(0.02); !grep { $files->($_) > $before{$_} + 4 } keys %before }) }, 'and no socket is left open');
}
my @bad = grep { /exit signal|:(?:crit|alert|emerg)\]/ } $httpd->log =~ /^.*\n/mg;
is(join('', @bad), '', 'no child has died');
$server->close;
done_testing;
