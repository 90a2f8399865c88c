# rpcping for monitoring, for programs and for many targets at once; who refused an interface, who
# answered; and passwords, which the process list does not show.

use strict;
use warnings;
use File::Spec;
use IO::Socket::IP;
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::Demo;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(turn);
use RPCH::RPC qw(pdu uuid rpc_parse BIND BIND_ACK NDR);
use RPCH::Test;
use RPCH::WebServer;

my $build = File::Spec->rel2abs('build');
my $root = vars('serverroot');
my $cert = "$root/conf/server.crt";

# ---- the server, and the proxy with a location for each firewall ----

my $demo = RPCH::Demo->new;
my $demo_port = $demo->{port};

# Accepts the interface named, of Exchange, and no other.
my $mailbox = RPCH::Rpcping::Server->new(offers => 'a4f1db00-ca47-1067-b31f-00dd010662da');
my $closed = do { my $fh = listener(); $fh->sockport };

sub listener { return IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 16) || die "cannot listen: $@\n" }

sub location {
    my ($name, $conf) = @_;
    return "<Location /$name/rpcproxy.dll>\nSetHandler rpcproxy\nRpcRequireTLS off\n"
        . "RpcValidPorts \"dc:1024-65535;dc2:1024-65535;exch:6001;127.0.0.1:1024-65535\"\n"
        . "RpcBackend dc ncacn_ip_tcp:127.0.0.1\nRpcBackend dc2 ncacn_ip_tcp:127.0.0.1\nRpcBackend exch ncacn_http:127.0.0.1[$mailbox->{port}]\n$conf\n</Location>\n";
}
my $anybody = "RpcAllowAnonymous On\nRequire all granted\n";
my $httpd = RPCH::Httpd->new(conf => join '', location(open => $anybody),
    location(users => "AuthType Basic\nAuthName rpc\nAuthUserFile $root/conf/users\nRequire valid-user\n"),
    location(echo => "${anybody}RpcAllowInterfaces 1024-65535 rpcecho"), location(mgmt => "${anybody}RpcAllowInterfaces 1024-65535 mgmt"),
    location(exchange => "${anybody}RpcAllowInterfaces 6001 emsmdb"), location(level => "${anybody}RpcMinAuthLevel connect"))->start;

sub at { my ($name) = @_; return ("--path=/$name/rpcproxy.dll", "http://127.0.0.1:$httpd->{port}") }

# ---- rpcping, while the doubles of this process are served ----

# Exit status, standard output and standard error.
sub ping {
    my (@args) = @_;
    my ($in, $out, $err) = start(@args);
    my %text = (out => '', err => '');
    my %open = (out => $out, err => $err);
    while (%open) {
        turn(0.005);
        for my $which (keys %open) {
            vec(my $ready = '', fileno $open{$which}, 1) = 1;
            delete $open{$which} if select($ready, undef, undef, 0) && !sysread $open{$which}, $text{$which}, 65536, length $text{$which};
        }
    }
    waitpid $in, 0;
    return ($? >> 8, @text{qw(out err)});
}

# Its process, standard output and standard error.
sub start {
    my (@args) = @_;
    pipe my $out, my $out_end or die "pipe: $!\n";
    pipe my $err, my $err_end or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>&', $out_end;
        open STDERR, '>&', $err_end;
        exec "$build/rpcping", @args or POSIX::_exit(127);
    }
    return ($pid, $out, $err);
}

# Is the exit status STATUS, and does standard output look like RE?
sub says {
    my ($status, $re, $name, @args) = @_;
    my ($got, $out, $err) = ping(@args);
    is($got, $status, "$name: exit status") or diag $out, $err;
    like($out, $re, $name) or diag $err;
    return $out;
}

sub json_of {
    my ($text) = @_;
    my @objects = map { scalar eval { JSON::PP->new->utf8->decode($_) } // diag("no JSON: $_") } split /\n/, $text;
    return wantarray ? @objects : $objects[0];
}
sub layer { my ($object, $name) = @_; return (grep { $_->{layer} eq $name } @{ $object->{layers} })[0] }

sub file {
    my ($name, @lines) = @_;
    put("$httpd->{dir}/$name", map { "$_\n" } @lines);
    return "$httpd->{dir}/$name";
}

my $dc = "dc:$demo_port";

# ---- who has refused an interface ----

says(7, qr/bind +FAILED.*mgmt 1\.0 is rejected: the server does not offer this interface, or the proxy's firewall refuses it/s, 'mgmt rejected, and nothing to compare', at('echo'), $dc);
says(0, qr/bind +ok .*rpcecho 1\.0, fragments.*; mgmt 1\.0 is refused by the proxy's firewall.*\n +call +not made/, 'another interface, which is accepted', '-I', 'rpcecho', at('echo'), $dc);
says(7, qr/bind +FAILED.*mgmt 1\.0 is refused by the proxy's firewall.*rpcecho 1\.0 is accepted/s, 'mgmt is wanted, too', '-I', 'rpcecho', '-I', 'mgmt', at('echo'), $dc);
my $refused = says(7, qr/bind +FAILED.*rpcecho 1\.0 is refused by the proxy's firewall.*the server lists it/s, 'what the server lists and does not accept', '-I', 'rpcecho', at('mgmt'), $dc);
unlike($refused, qr/\n +call/, 'and that is the end');
says(0, qr/rpcecho 1\.0, mgmt 1\.0, fragments.*call +ok/s, 'both are accepted', '-I', 'rpcecho', at('open'), $dc);
says(7, qr/samr 1\.0 is rejected: the server does not offer it, and does not list it/, 'what the server does not list', '-I', 'samr', at('open'), $dc);
says(7, qr/rpcecho 9\.0 is rejected: the server does not offer it/, 'a version that it does not list', '-I', '60a15ec5-4de8-11d7-a637-005056a20182@9.0', at('mgmt'), $dc);
says(7, qr/mgmt 1\.0 is refused by the proxy's firewall.*emsmdb 0\.81 is accepted/, 'the interface that is usual behind the port shows it', at('exchange'), 'exch:6001');
says(7, qr/mgmt 1\.0 is rejected: the server does not offer .*, or .*RpcMinAuthLevel/, 'all are refused: nothing can be told', '-I', 'rpcecho', '-I', 'mgmt', at('level'), $dc);
says(7, qr/samr 1\.0 is rejected: .*, or the proxy's firewall .*cannot be asked/, 'mgmt cannot be asked', '-I', 'rpcecho', '-I', 'samr', at('echo'), $dc);
{
    my ($object) = json_of((ping('--json', '-I', 'rpcecho', at('mgmt'), $dc))[1]);
    my %result = map { $_->{name} => $_->{result} } @{ layer($object, 'bind')->{interfaces} };
    is_deeply(\%result, { mgmt => 'accepted', rpcecho => 'refused_by_firewall' }, 'for programs, too');
}

# ---- --nagios: one line, and its status, on every path ----

my $figures = join '', map { " $_=[\\d.]+s;;;0" } qw(address tls authentication echo virtual_connection bind call);
says(0, qr/\ARPC OK: \Q$dc\E by 127\.0\.0\.1, [\d.]+ s \| total=[\d.]+s;;;0$figures\n\z/, 'OK, with performance data', '--nagios', at('open'), $dc);
says(0, qr/\ARPC OK: [^\n]* \| total=[\d.]+s;60;\@99:100;0 /, 'within the thresholds', '--nagios', '-w', 60, '-c', '@99:100', at('open'), $dc);
says(1, qr/\ARPC WARNING: [^\n]*--warning is 0 \| total=[\d.]+s;0;60;0[^\n]*\n\z/, 'a warning', '--nagios', '-w', 0, '-c', 60, at('open'), $dc);
says(2, qr/\ARPC CRITICAL: [^\n]*--critical is 5: \| total=[^\n]*\n\z/, 'critical', '--nagios', '--warning=0', '--critical=5:', at('open'), $dc);
says(2, qr/\ARPC CRITICAL: [^\n]*--critical is \@0:60 \|/, 'critical inside of a range', '--nagios', '-c', '@0:60', at('open'), $dc);
says(0, qr/\ARPC OK/, 'a range without a start', '--nagios', '-c', '~:60', at('open'), $dc);
says(9, qr/call +ok.*\n +time +SLOW.*--warning is 0/s, 'for people, too', '-w', 0, at('open'), $dc);
says(2, qr/\ARPC CRITICAL: 127\.0\.0\.1:$closed by 127\.0\.0\.1: virtual connection: [^\n|]*6ba[^\n|]* \| total=[\d.]+s;;;0 address=[^\n]* echo=[\d.]+s;;;0\n\z/, 'a server that is not there, with what was measured', '--nagios', at('open'), "127.0.0.1:$closed");
says(2, qr/\ARPC CRITICAL: [^\n|]*: address: [^\n|]* \| total=[\d.]+s;;;0\n\z/, 'a proxy that is not there', '--nagios', "http://127.0.0.1:$closed", $dc);
{
    my $pipes = RPCH::WebServer->new(answer => sub { return RPCH::WebServer::answer("404 a|b \e[31m", '') });
    says(2, qr{\A[^|\n]*404 a/b [^|\n\e]* \| total=[^|\n]*\n\z}, 'what a server says does not look like performance data', '--nagios', "http://127.0.0.1:$pipes->{port}", $dc);
}
for my $case (['no argument' => qr/are needed/], ['an unknown option' => qr/--frobnicate is unknown/, '--frobnicate=geheim'], ['an unknown letter' => qr/no option -Z/, '-Z'],
              ['no value' => qr/--timeout needs/, at('open'), $dc, '--timeout'], ['a number' => qr/--count needs a number/, '-n', 'many', at('open'), $dc],
              ['a range' => qr/--warning needs/, '-w', '5:1', at('open'), $dc], ['another' => qr/--critical needs/, '-c', '1:2:3', at('open'), $dc], ['no number' => qr/--warning needs/, '-w', 'nan:5', at('open'), $dc],
              ['an interface' => qr/--interface needs/, '-I', 'nobody', at('open'), $dc], ['a version' => qr/--interface needs/, '-I', 'emsmdb@+5', at('open'), $dc], ['no port' => qr/server:port/, at('open'), 'exch'], ['a URL' => qr/URL/, 'exch', $dc],
              ['a password file' => qr/No such file/, '-u', 'alice', '-p', "$httpd->{dir}/none", at('open'), $dc], ['no password' => qr/without a password/, '-u', 'alice', at('open'), $dc],
              ['a file of targets' => qr/No such file/, '--all', "$httpd->{dir}/none"], ['what cannot be read' => qr/Is a directory/, '--all', $httpd->{dir}],
              ['nor a password' => qr/Is a directory/, '-u', 'alice', '-p', $httpd->{dir}, at('open'), $dc], ['a value too many' => qr/the option --quiet /, '--quiet=x'],
              ['no letter, after a password' => qr/no option -\\xc3/, '--proxy', 'http://u:geheim@127.0.0.1', "-\xc3\xa9"]) {
    my ($name, $re, @args) = @$case;
    my ($status, $out, $err) = ping('--nagios', @args);
    is($status, 3, "usage: $name: exit status 3");
    like($out, qr/\ARPC UNKNOWN: [^\n|]*$re[^\n|]*\n\z/, 'in one line');
    is($err, '', 'and nothing else');
    unlike($out, qr/geheim/, 'no value of an option that nobody knows');
}
says(3, qr/usage: rpcping/, '--help among them', '--nagios', '--help');
{
    my ($status, $out, $err) = ping('-w', 'x', at('open'), $dc);
    is("$status $out", '1 ', 'for people: exit status 1');
    like($err, qr/\Arpcping: --warning needs.*\nTry rpcping --help\.\n\z/, 'and the error on standard error');
}

# ---- --json ----

{
    my ($status, $out) = ping('--json', '-n', 2, '-i', 0, '--cacert', $cert, '-u', 'alice:secret', 'https://localhost:' . vars('tlsport'), "tcp.contoso.test:$demo_port");
    is($status, 0, 'JSON: exit status');
    is($out =~ tr/\n//, 1, 'one line');
    my ($o) = json_of($out);
    is_deeply([@$o{qw(server proxy state status failed message)}], ["tcp.contoso.test:$demo_port", 'localhost', 'OK', 0, undef, undef], 'the target and its state');
    is_deeply([map { "$_->{layer} $_->{result} $_->{code}" } @{ $o->{layers} }], [map { "$_ ok 0" } qw(address tls authentication echo virtual_connection bind call)], 'each layer');
    ok(!(grep { $_->{seconds} !~ /^\d+(?:\.\d+)?(?:e-\d+)?$/ || !length $_->{message} } @{ $o->{layers} }), 'with its time and words');
    like(layer($o, 'tls')->{days_left}, qr/^-?\d+$/, 'the certificate');
    is_deeply([@{ layer($o, 'authentication') }{qw(scheme user)}], [qw(Basic alice)], 'the user');
    is_deeply([@{ layer($o, 'address') }{qw(port)}, layer($o, 'virtual_connection')->{window}, layer($o, 'call')->{calls}], [vars('tlsport'), 262144, 2], 'figures are numbers');
    is_deeply([map { $_->{name} } @{ layer($o, 'call')->{interfaces} }], [qw(mgmt rpcecho)], 'the interfaces of the server') or diag $out;
    unlike($out, qr/secret/, 'no password');
}
{
    my ($status, $out) = ping('--json', at('open'), "127.0.0.1:$closed");
    my ($o) = json_of($out);
    is("$status @$o{qw(state status failed)}", '6 CRITICAL 6 virtual_connection', 'JSON of a failure');
    my $layer = layer($o, 'virtual_connection');
    is("@$layer{qw(result code code_kind)}", "failed @{[0x6ba]} rpc", 'with the code of the RPC error');
    is($layer->{message}, $o->{message}, 'and its words');
    ok($layer->{answered_by}{form_of_mod_rpcproxy}, 'and who wrote it');
    is(layer($o, 'bind')->{result}, 'not_tried', 'the layers behind it are not tried');
}
{
    my $odd = RPCH::WebServer->new(answer => sub { return RPCH::WebServer::answer("404 \"q\" \\ \t \xff\xc3\xa9 \xed\xa0\x80", '') });
    my ($status, $out) = ping('--json', "http://127.0.0.1:$odd->{port}", $dc);
    my ($o) = json_of($out);
    like($o->{message}, qr/404 "q" \\ \? \x{fffd}\x{e9} \x{fffd}+"/, 'JSON: what a server says is escaped, and UTF-8');
    is("@{ layer($o, 'echo') }{qw(code code_kind)}", '404 http', 'the HTTP status is the code');
    is((ping('--json', '--nagios', "http://127.0.0.1:$odd->{port}", $dc))[0], 2, 'with the exit status of --nagios');
    my ($usage) = json_of((ping('--json', 'http://127.0.0.1'))[1]);
    is("@$usage{qw(state status failed)}", 'UNKNOWN 1 usage', 'an error of usage, too');
}

# ---- --all ----

{
    my $netrc = file(netrc => 'machine 127.0.0.1 login alice password secret', 'machine localhost login alice password wrong');
    my @by = ('--netrc-file', $netrc, '--path=/users/rpcproxy.dll');
    my $here = "http://127.0.0.1:$httpd->{port}";
    my $good = file(good => '# the targets', '', "$here $dc", "  $here\tdc2:$demo_port # and a second");
    my $mixed = file(mixed => "$here $dc", "$here 127.0.0.1:$closed", "http://localhost:$httpd->{port} $dc", "http://127.0.0.1:$closed $dc");
    my $table = says(0, qr/\ASERVER +PROXY +RESULT +TIME\n\Q$dc\E +127\.0\.0\.1 +ok +[\d.]+ ms\ndc2:$demo_port +127\.0\.0\.1 +ok +[\d.]+ ms\n2 targets: 2 ok, 0 not\n\z/, 'a table', @by, '--all', $good);
    $table = says(2, qr/4 targets: 1 ok, 3 not\n\z/, 'the exit status is that of the target where the least works', @by, '--all', $mixed);
    like($table, qr/virtual connection FAILED +[\d.]+ ms\n +.*6ba.*\n.*authentication FAILED.*\n +.*password is wrong.*\n.*address FAILED/, 'a row each, with the cause');
    says(0, qr/^2 targets: 2 ok/m, 'servers alone, behind one proxy', @by, '--all', file(servers => $dc, "dc2:$demo_port"), $here);
    says(0, qr/\ARPC OK: 2 of 2 targets ok \| '127\.0\.0\.1\/\Q$dc\E'=[\d.]+s;;60;0 '127\.0\.0\.1\/dc2:$demo_port'=[\d.]+s;;60;0\n\z/, '--nagios: one line', '--nagios', '-c', 60, @by, '--all', $good);
    says(2, qr/\ARPC CRITICAL: 1 of 4 targets ok: 127\.0\.0\.1:$closed by 127\.0\.0\.1: virtual connection: [^\n|]*; \Q$dc\E by localhost: authentication: [^\n]* \| (?:'[^']+'=[^ ]+ ?){4}\n\z/, 'and what fails', '--nagios', @by, '--all', $mixed);
    says(1, qr/\ARPC WARNING: 0 of 2/, 'or is slow', '--nagios', '-w', 0, @by, '--all', $good);
    says(9, qr/SLOW/, 'in the table as well', '-w', 0, @by, '--all', $good);
    my ($status, $out) = ping('--json', @by, '--all', $mixed);
    is(join(' ', $status, map { $_->{status} } json_of($out)), '2 0 6 4 2', '--json: an object a target');
    ($status, $out) = ping('-q', @by, '--all', $mixed);
    is(join(' ', $out =~ /^RPC (\w+): .*\| total=/mg), 'OK CRITICAL CRITICAL CRITICAL', '-q: a line a target');
    says(4, qr/has no user for this host/, 'a host that the file of users does not name', '--netrc-file', file(empty => 'machine other login a password b'), at('users'), $dc);
    says(3, qr/\ARPC UNKNOWN: \S+, line 3: the server is to be written server:port\n\z/, 'a line that is none ends it before the first test', '--nagios', @by, '--all', file(bad => '#', "$here $dc", "$here exch"));
    says(3, qr/line 1: a line is to be: URL server:port\n/, 'a line without a URL', '--nagios', '--all', file(short => $dc));
    says(3, qr/has no target/, 'a file without a line', '--nagios', '--all', file(none => '# nothing'));
}

# ---- the process list ----

# The command line as everybody sees it, once the connection to LISTENER shows that it has been read.
sub process_list {
    my ($listener, @args) = @_;
    my ($pid) = start(@args);
    vec(my $ready = '', fileno $listener, 1) = 1;
    my $peer = select($ready, undef, undef, 10) ? $listener->accept : diag 'rpcping does not connect';
    my $line = join ' ', split /\0/, slurp("/proc/$pid/cmdline");
    kill TERM => $pid;
    waitpid $pid, 0;
    return $line;
}
{
    my $mute = listener();
    my $to = '127.0.0.1:' . $mute->sockport;
    for my $case (['--user', qr/-u alice:x+ /, '-u', 'alice:geheim', "http://$to"], ['--user in one word', qr/-kualice:x+ /, '-kualice:geheim', "http://$to"],
                  ['--user behind =', qr/--user=alice:x+ /, '--user=alice:geheim', "http://$to"],
                  ['--proxy', qr/--proxy http:\/\/bob:x+\@\Q$to\E /, '--proxy', "http://bob:geh%40eim\@$to", 'http://127.0.0.1:9'], ['--proxy without a scheme', qr/--proxy=bob:x+\@/, "--proxy=bob:geheim\@$to", 'http://127.0.0.1:9'],
                  ['the URL', qr/http:\/\/carol:x+\@\Q$to\E/, "http://carol:geheim\@$to"]) {
        my ($name, $re, @args) = @$case;
        my $line = process_list($mute, @args, $dc);
        like("$line ", $re, "the process list: $name");
        unlike($line, qr/geh|eim/, 'has no password');
    }
    my @seen;
    my $proxy = RPCH::WebServer->new(answer => sub { push @seen, $_[0]{headers}; return RPCH::WebServer::answer('403 Forbidden', '') });
    ping('--proxy', "http://bob:geheim\@127.0.0.1:$proxy->{port}", "http://carol:ge%68eim\@127.0.0.1:9", $dc);
    like($seen[0], qr/^Proxy-Authorization: Basic @{[ encode_base64('bob:geheim', '') ]}\r$/m, 'and yet it is used');
    like($seen[0], qr/^Authorization: Basic @{[ encode_base64('carol:geheim', '') ]}\r$/m, 'that of the URL, too');
}

# ---- who has answered ----

# [MS-EERR] 2.2.1.8 as Windows writes it: one record, with the name of the computer.
sub eeinfo {
    my ($computer, $process) = @_;
    my $name = pack 'v*', map { ord } split(//, $computer), "\0";
    my $record = pack 'V V V v v v x2 V V x4 x8 V V v v v x2 a*', 0x20000, 0, 0, 1, 1, length($name) / 2, 0x20004, $process, 0x0e, 0x6ba, 0x5a0, 0, 0,
        pack('V a*', length($name) / 2, $name);
    $record .= "\0" x (-length($record) % 8);
    return 'RPC Error: 6ba, EEInfo: ' . encode_base64(pack('C C v V V V', 1, 0x10, 8, 0xcccccccc, length $record, 0) . $record, '');
}

# A proxy that answers the echo with one set of fields and channels with STATUS and another.
sub two_layers {
    my ($echo, $status, @fields) = @_;
    return RPCH::WebServer->new(answer => sub {
        return RPCH::WebServer::answer('200 Success', rts('Echo'), 'Content-Type: application/rpc', @$echo) if $_[0]{length} == 4;
        return RPCH::WebServer::answer($status, '', @fields, 'Connection: close');
    });
}
for my $case (
    ['the front passes the answer on', [qr/from the computer EXCH1, process 4321/, qr/by way of 1\.1 front\.example\.com \(Via\), so from behind it/],
     ['Server: Microsoft-IIS/10.0', 'Via: 1.1 front.example.com'], '503 ' . eeinfo('EXCH1', 4321), 'Via: 1.1 front.example.com', 'Server: Microsoft-IIS/10.0'],
    ['the front answers by itself', [qr/did not come by way of 1\.1 front\.example\.com \(Via\) as the echo's did, so the proxy in front/, qr/form of mod_rpcproxy/, qr/got no usable answer from the RPC proxy behind/],
     ['Via: 1.1 front.example.com'], '502 RPC Error: 6ba, EEInfo: ' . encode_base64(pack('C C v V x8 V x8 v v x4 x4 x8 V V v x6', 1, 0x10, 8, 0xcccccccc, 0x20000, 2, 2, 0x0e, 0x6ba, 0), '')],
    ['the one behind is silent', [qr/no answer in time from the RPC proxy behind/], [], '504 RPC Error: 6ba'],
    ['two servers', [qr/Apache has answered this, and Microsoft-IIS\/10\.0 the echo: these are two proxies/], ['Server: Microsoft-IIS/10.0'], '503 RPC Error: 6ba', 'Server: Apache'],
    ['one server', [qr/\A(?!.*two proxies)(?!.*Via)/s], ['Server: Apache'], '503 RPC Error: 6ba', 'Server: Apache'],
) {
    my ($name, $res, $echo, @answer) = @$case;
    my $proxy = two_layers($echo, @answer);
    my ($status, $out) = ping("http://127.0.0.1:$proxy->{port}", $dc);
    is($status, 6, "$name: exit status") or diag $out;
    like($out, $_, "$name: in words") for @$res;
}
{
    my $proxy = two_layers(['Server: Microsoft-IIS/10.0', 'Via: 1.1 front.example.com'], '401 Unauthorized', 'WWW-Authenticate: Basic realm="x"', 'Via: 1.1 front.example.com');
    my ($status, $out) = ping('--json', "http://127.0.0.1:$proxy->{port}", $dc);
    my ($o) = json_of($out);
    is_deeply([@{ layer($o, 'echo')->{answered_by} }{qw(server via computer)}], ['Microsoft-IIS/10.0', '1.1 front.example.com', undef], 'for programs: the echo') or diag $out;
    is("$status $o->{failed} " . layer($o, 'authentication')->{answered_by}{via}, '4 authentication 1.1 front.example.com', 'and the refusal, a 401 that came from behind') or diag $out;
    says(4, qr/echo +ok .*answer: Microsoft-IIS\/10\.0, by way of 1\.1 front\.example\.com \(Via\)/, 'for people: who answers the echo', "http://127.0.0.1:$proxy->{port}", $dc);
}

undef $httpd;
done_testing;

# Offers one interface: every other context of a bind is rejected.
package RPCH::Rpcping::Server;

use parent -norequire, 'RPCH::Server';

sub handle {
    my ($self, $leg, $pdu) = @_;
    my $p = RPCH::PDU::is_rts($pdu) ? {} : RPCH::RPC::rpc_parse($pdu);
    return $self->SUPER::handle($leg, $pdu) if !defined $p->{ptype} || $p->{ptype} != RPCH::RPC::BIND;
    my $results = '';
    my $count = unpack 'x24 C', $pdu;
    for my $n (0 .. $count - 1) {
        my $known = substr($pdu, 32 + 44 * $n, 16) eq RPCH::RPC::uuid($self->{offers});
        $results .= $known ? pack('v v', 0, 0) . RPCH::RPC::uuid(RPCH::RPC::NDR) . pack 'V', 2 : pack 'v v x20', 2, 1;
    }
    my $body = pack 'v v V v a* x2 C x3 a*', 4280, 4280, 1, 4, "593\0", $count, $results;
    return $leg->{vc}->send(RPCH::RPC::pdu(RPCH::RPC::BIND_ACK, $p->{call}, $body));
}
