# The line of a channel in the access log, which is written long after httpd has freed the request. Every
# item of LogFormat has the same value as for other requests, and conditions work. The same holds for
# lines of the error log and the items of ErrorLogFormat.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Needs qw(modules);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my $modules = modules();
my $root = vars('serverroot');
mkdir "$root/htdocs/moved";
my $server = server(echo => 1);
my $closed = RPCH::Root::free_ports(1);
my $tls_port = RPCH::Root::free_ports(1);

# The value of each item for a channel: a text, a pattern, or code that gets the channel. KIND is "out",
# "in" or "refused" (an OUT channel whose server cannot be reached). MOVED is true behind an internal
# redirect.
sub by_kind { my (%value) = @_; return sub { $value{ $_[0]{kind} } } }
sub only_tls { my ($value, $other) = @_; return sub { $_[0]{tls} ? $value : $other // '-' } }
sub moved { my ($value, $other) = @_; return sub { $_[0]{moved} ? $value : ref $other ? $other->($_[0]) : $other } }
my $number = qr/^\d+$/;
my $answered = sub { my ($value, $refused) = @_; return by_kind(out => $value, refused => $refused // $value, in => qr/^/) };
my $status = by_kind(out => 200, in => 200, refused => 503);
my @ITEMS = (
    '%a' => '127.0.0.1', '%{c}a' => '127.0.0.1', '%A' => '127.0.0.1', '%h' => '127.0.0.1', '%{c}h' => '127.0.0.1',
    '%B' => by_kind(out => qr/^5\d\d\d$/, in => 0, refused => $number),
    '%b' => by_kind(out => qr/^5\d\d\d$/, in => '-', refused => qr/^(?:\d+|-)$/),
    '%{crumb}C' => 'value', '%{other}C' => '-',
    '%D' => $number, '%T' => $number, '%{ms}T' => $number, '%{us}T' => $number,
    '%{RPC_TARGET}e' => sub { $_[0]{target} },
    '%{RPC_BACKEND}e' => by_kind(out => "127.0.0.1[$server->{port}]", in => "127.0.0.1[$server->{port}]", refused => '-'),
    '%{RPC_REASON}e' => by_kind(out => 'server-closed', in => 'client-closed', refused => 'connect-failed'),
    '%{BEFORE}e' => 'was-set', '%{NOBODY}e' => '-',
    '%f' => "$root/htdocs/rpc/rpcproxy.dll", '%H' => 'HTTP/1.1', '%m' => sub { $_[0]{method} },
    '%{User-Agent}i' => 'MSRPC', '%{X-Twice}i' => 'a, b', '%{user-agent}i' => 'MSRPC', '%{X-None}i' => '-',
    '%{Content-Length}i' => by_kind(out => 76, in => 1 << 30, refused => 76),
    '%{Authorization}i' => '-',     # a secret, which is not kept for hours
    '%k' => 0, '%l' => '-',
    '%L' => moved('-', sub { $_[0]{id} }), '%{c}L' => sub { $_[0]{connection_id} },
    '%{forensic-id}n' => moved('-', sub { $_[0]{forensic} }),
    '%{Content-Type}o' => $answered->('application/rpc'), '%{Content-Length}o' => $answered->(1 << 30, $number),
    '%{X-Added}o' => sub { $_[0]{kind} eq 'in' ? qr/^/ : $_[0]{target} }, '%{Set-Cookie}o' => $answered->('one=1, two=2'),
    '%{X-Accel-Buffering}o' => by_kind(out => 'no', in => '-', refused => '-'),
    '%p' => only_tls(443, 80), '%{canonical}p' => only_tls(443, 80),
    '%{local}p' => sub { $_[0]{server_port} }, '%{remote}p' => sub { $_[0]{port} },
    '%P' => sub { $_[0]{pid} }, '%{pid}P' => sub { $_[0]{pid} }, '%{tid}P' => $number, '%{hextid}P' => qr/^[0-9a-f]+$/,
    '%q' => sub { "?$_[0]{target}" },
    '%r' => sub { "$_[0]{method} $_[0]{path}?$_[0]{target} HTTP/1.1" },
    '%R' => moved('redirect-handler', 'rpcproxy'), '%<R' => moved('redirect-handler', 'rpcproxy'), '%>R' => 'rpcproxy',
    '%s' => moved(200, $status), '%>s' => $status, '%<s' => moved(200, $status),
    '%t' => qr{^\[\d\d/\w\w\w/\d{4}:\d\d:\d\d:\d\d [-+]\d{4}\]$}, '%{%Y}t' => qr/^20\d\d$/,
    '%{begin:sec}t' => $number, '%{end:sec}t' => $number, '%{msec_frac}t' => qr/^\d\d\d$/,
    '%u' => 'alice', '%<u' => moved('-', 'alice'),
    '%U' => sub { $_[0]{path} }, '%>U' => '/rpc/rpcproxy.dll',
    '%v' => only_tls('tls.contoso.test', 'localhost'), '%V' => 'localhost',
    '%X' => qr/^[-X]$/,
    '%I' => sub { $_[0]{tls} || $_[0]{moved} ? $number : $_[0]{sent} },
    '%O' => sub { $_[0]{tls} || $_[0]{moved} ? $number : $_[0]{received} },
    '%S' => sub { $_[0]{tls} || $_[0]{moved} ? $number : $_[0]{sent} + $_[0]{received} },
    '%{X-Trailer}^ti' => '-',
    '%{SSL_PROTOCOL}x' => only_tls(qr/^TLSv1\.[23]$/), '%{SSL_CIPHER}x' => only_tls(qr/^TLS|AES|CHACHA/),
    '%{SSL_CIPHER_USEKEYSIZE}x' => only_tls($number), '%{SSL_SESSION_RESUMED}x' => only_tls(qr/^(?:Initial|Resumed)$/),
    '%{SSL_CLIENT_VERIFY}x' => only_tls('NONE'), '%{SSL_SERVER_S_DN}x' => only_tls('CN=localhost'),
    '%{SSL_TLS_SNI}x' => only_tls('localhost'), '%{HTTPS}x' => only_tls('on', 'off'),
    '%{HTTP_USER_AGENT}x' => 'MSRPC', '%{REMOTE_USER}x' => 'alice', '%{THE_REQUEST}x' => sub { "$_[0]{method} $_[0]{path}?$_[0]{target} HTTP/1.1" },
    '%{version}c' => only_tls(qr/^TLSv1\.[23]$/), '%{cipher}c' => only_tls(qr/^TLS|AES|CHACHA/), '%{subjectdn}c' => '-',
    '%!200,304{RPC_REASON}e' => by_kind(out => '-', in => '-', refused => 'connect-failed'),
    '%503{RPC_REASON}e' => by_kind(out => '-', in => '-', refused => 'connect-failed'),
);
my @names = @ITEMS[grep { $_ % 2 == 0 } 0 .. $#ITEMS];
my %says = @ITEMS;

my $format = join '\t', @names;
my $logs = <<"CONF";
CustomLog items_log items
CustomLog by_variable key env=BEFORE
CustomLog by_no_variable key env=!BEFORE
CustomLog by_reason key "expr=reqenv('RPC_REASON') == 'connect-failed' && %{REQUEST_STATUS} == 503"
CustomLog by_agent key "expr=%{HTTP_USER_AGENT} == 'MSRPC' && %{REQUEST_URI} =~ m#^/rpc/# && req('X-Twice') == 'a, b'"
CustomLog by_tls key "expr=%{HTTPS} == 'on' && %{SSL_PROTOCOL} =~ /^TLS/ && %{REQUEST_SCHEME} == 'https'"
CustomLog "|$^X $root/items-pipe.pl" key
CONF
{
    open my $fh, '>', "$root/items-pipe.pl" or die $!;
    print $fh 'open F, ">>", "piped" or die $!; while (<STDIN>) { syswrite F, $_ }';
}
my $httpd = RPCH::Httpd->new(conf => <<"CONF" . RPCH::Httpd->location("RpcValidPorts 127.0.0.1:1024-65535\nRpcMaxFailedTargets 0 1"))->start;
LoadModule headers_module $modules/mod_headers.so
LoadModule rewrite_module $modules/mod_rewrite.so
LoadModule log_forensic_module $modules/mod_log_forensic.so
LoadModule remoteip_module $modules/mod_remoteip.so
RemoteIPHeader X-Client
RemoteIPTrustedProxy 127.0.0.1
SetEnvIf Remote_Addr ^192 FRONT
CustomLog front_log "%a %{c}a %h %{c}h %{remoteip-proxy-ip-list}n" env=FRONT
ForensicLog forensic_log
GlobalLog global_log "%{remote}p"
LogFormat "$format" items
LogFormat "%{remote}p" key
SetEnvIf X-Twice . BEFORE=was-set
Header always set X-Added "%{RPC_TARGET}e"
Header always add Set-Cookie one=1
Header always add Set-Cookie two=2
ErrorLogFormat "port=%a to=%A status=%E e=%{BEFORE}e i=%{User-Agent}i k=%k L=%L cL=%{c}L v=%v V=%V n=%{forensic-id}n pid=%P level=%m:%l %M"
ErrorLogFormat request "request %L of %+{User-Agent}i"
ErrorLogFormat connection "connection %{c}L of %a"
$logs
Listen 127.0.0.1:$tls_port
<VirtualHost 127.0.0.1:$tls_port>
    ServerName tls.contoso.test
    UseCanonicalName Off
    @{[ RPCH::Httpd->tls_lines ]}
$logs
</VirtualHost>
<Directory $root/htdocs/moved>
    RewriteEngine On
    RewriteRule ^rpcproxy.dll\$ /rpc/rpcproxy.dll
</Directory>
CONF

# ---- channels of all kinds ----

my @channels;
sub channel {
    my ($c, $kind, $connection) = @_;
    push @channels, { kind => $kind, tls => $c->{tls} ? 1 : 0, moved => $c->{path} =~ /moved/ ? 1 : 0, path => $c->{path},
                      target => $c->{target}, method => $kind eq 'in' ? 'RPC_IN_DATA' : 'RPC_OUT_DATA', connection => $connection,
                      port => $connection->{fh}->sockport, server_port => $c->{port} };
    return;
}

for my $tls (undef, { SSL_ca_file => "$root/conf/server.crt", SSL_hostname => 'localhost' }) {
    for my $path ('/rpc/rpcproxy.dll', '/moved/rpcproxy.dll') {
        my @common = (port => $tls ? $tls_port : $httpd->{port}, tls => $tls, path => $path,
                      headers => ['X-Twice: a', 'X-Twice: b', 'Cookie: crumb=value; more=1']);
        my $c = plain(@common, target => $server->target)->connect;
        channel($c, out => $c->out);
        channel($c, in => $c->in);
        $c->call(request_pdu(1, 'works' x 1000));
        $c->in->close;
        $c->out->wait_eof;
        $c->close;
        my $refused = plain(@common, target => "127.0.0.1:$closed");
        $refused->open_out;
        channel($refused, refused => $refused->out);
        $refused->send_a1;
        $refused->out->wait_eof;
        $refused->close;
    }
}
my $count = @channels;

sub lines { my ($log) = @_; return split /\n/, $httpd->log($log) }
ok(eval { wait_for('all lines', sub { turn(0.02); lines('items_log') == $count }) }, 'one line for each channel');
my %line = map { my %item; @item{@names} = split /\t/, $_, -1; ($item{'%{remote}p'} => \%item) } lines('items_log');

# Tests what the error log and the forensic log say about a channel.
sub told {
    my ($ch) = @_;
    my ($end) = grep { /^port=127\.0\.0\.1:$ch->{port} .* RPC_\w+ channel to .* ended: / } lines('error_log');
    $ch->{end} = $end // '';
    @$ch{qw(id connection_id pid)} = $ch->{end} =~ /L=(\S+) cL=(\S+).* pid=(\d+)/;
    ($ch->{forensic}) = $ch->{end} =~ / n=(\S+) /;
    @$ch{qw(sent received)} = @{ $ch->{connection} }{qw(total_out total_in)};
    return $ch;
}

sub check_item {
    my ($ch, $item, $name) = @_;
    my $want = $says{$item};
    $want = $want->($ch) if ref $want eq 'CODE';
    my $got = $line{ $ch->{port} }{$item};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ref $want eq 'Regexp' ? like($got, $want, "$name: $item") : is($got, $want, "$name: $item");
}

for my $ch (map { told($_) } @channels) {
    my $name = join ' ', $ch->{kind}, $ch->{tls} ? 'tls' : 'plain', $ch->{moved} ? 'redirected' : ();
    ok($line{ $ch->{port} }, "$name: a line") or next;
    check_item($ch, $_, $name) for @names;
    my $item = $line{ $ch->{port} };
    is($item->{'%{us}T'}, $item->{'%D'}, "$name: one time for all items");
    is($item->{'%{ms}T'}, int($item->{'%D'} / 1000), "$name: in milliseconds");
    cmp_ok($item->{'%{end:sec}t'}, '>=', $item->{'%{begin:sec}t'}, "$name: it ends after it begins");
    cmp_ok($item->{'%O'}, '>', $ch->{received}, "$name: with the bytes of TLS and its handshake") if $ch->{tls} && !$ch->{moved};
    cmp_ok($item->{'%I'}, '>', $ch->{sent}, "$name: both ways") if $ch->{tls} && !$ch->{moved};

    # The same in the lines of the error log
    like($ch->{end}, qr/ to=127\.0\.0\.1:$ch->{server_port} /, "$name: ErrorLogFormat: where to");
    like($ch->{end}, qr/ e=was-set i=MSRPC k=0 /, "$name: ErrorLogFormat: variables and fields");
    like($ch->{end}, qr/ v=(?:localhost|tls\.contoso\.test) V=localhost /, "$name: ErrorLogFormat: the server");
    is(scalar(grep { $_ eq "request $ch->{id} of MSRPC" } lines('error_log')), 1, "$name: once what holds for all lines of the request");
    is(scalar(grep { $_ eq "connection $ch->{connection_id} of 127.0.0.1:$ch->{port}" } lines('error_log')), 1, "$name: and of the connection");
    is_deeply([grep { /[-+]\Q$ch->{forensic}\E(?:\||$)/ && s/\|.*// + 1 } my @forensic = lines('forensic_log')],
              ["+$ch->{forensic}", "-$ch->{forensic}"], "$name: mod_log_forensic has seen its end") if !$ch->{moved};
}

# ---- which logs ----

sub in_log {
    my ($log, $which, $name) = @_;
    my @want = sort map { $_->{port} } grep { $which->($_) } @channels;
    eval { wait_for($log, sub { turn(0.02); lines($log) >= @want }) };
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is_deeply([sort { $a <=> $b } lines($log)], [sort { $a <=> $b } @want], $name);
}

in_log('by_variable', sub { 1 }, 'CustomLog env=');
in_log('by_no_variable', sub { 0 }, 'CustomLog env=!');
# Expressions see the request as it came
in_log('by_reason', sub { $_[0]{kind} eq 'refused' && !$_[0]{moved} }, 'an expression about how it ended');
in_log('by_agent', sub { !$_[0]{moved} }, 'an expression about what the client has sent');
in_log('by_tls', sub { $_[0]{tls} }, 'an expression about TLS');
in_log('global_log', sub { 1 }, 'GlobalLog');
in_log('piped', sub { 1 }, 'a piped log');

# ---- behind a front end that names its clients (mod_remoteip) ----
{
    my $c = plain(port => $httpd->{port}, target => "127.0.0.1:$closed", headers => ['X-Client: 192.0.2.9']);
    $c->open_out;
    $c->send_a1;
    $c->out->wait_eof;
    ok($httpd->logs(qr/^192\.0\.2\.9 127\.0\.0\.1 192\.0\.2\.9 127\.0\.0\.1 127\.0\.0\.1$/m, 'front_log'), 'the client, and the front end') || diag $httpd->log('front_log');
    ok($httpd->logs(qr/^port=192\.0\.2\.9\S* .* ended: .* client 192\.0\.2\.9,/m), 'also in the error log') || diag $httpd->log;
    $c->close;
}

# No log contains the password
unlike(join('', map { $httpd->log($_) } qw(items_log error_log)), qr/YWxpY2U6c2VjcmV0/, 'the password stays out of the logs');
$server->close;
done_testing;
