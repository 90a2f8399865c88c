# AuthType NTLM on the wire: what is offered, what belongs to which connection, and what is
# refused. The client is t/lib/RPCH/NTLMClient.pm, which can do everything wrong.

use strict;
use warnings;
use utf8;
use Encode qw(encode);
use IO::Socket::SSL::Utils qw(PEM_file2cert);
use MIME::Base64 qw(encode_base64);
use Net::SSLeay;
use Test::More;
use RPCH::Httpd;
use RPCH::NTLMClient;
use RPCH::Root;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my $root = vars('serverroot');
my $N = 'RPCH::NTLMClient';
my $native = server(echo => 1);

sub users_file {
    my ($name, @lines) = @_;
    open my $fh, '>', "$root/$name" or die "$name: $!\n";
    binmode $fh, ':utf8';
    print $fh "$_\n" for @lines;
    close $fh;
    return "$root/$name";
}
sub account { my ($name, $password, $flags) = @_; return join ':', $name, 1000, 'X' x 32, $RPCH::NTLMClient::NT_HASH{$password}, '[' . ($flags // 'U          ') . ']', 'LCT-00000000:' }
my $users = users_file("ntlm-$$", account(alice => 'secret'), account(bob => 'hidden'), account(carol => 'secret', 'DU         '), account('jürgen' => 'secret'));
my $others = users_file("ntlm-others-$$", account(alice => 'hidden'));

sub section {
    my ($path, $text, $file) = @_;
    return "<Location $path>\nAuthType NTLM\nAuthName \"the realm\"\nAuthNtlmUserFile " . ($file // $users) . "\nRequire valid-user\n$text\n</Location>\n";
}
my $tls = RPCH::Root::free_ports(1);
my $httpd = RPCH::Httpd->new(conf => "KeepAlive On\nLogLevel auth_ntlm:debug\n"
    . section('/a', '') . section('/b', '') . section('/other', '', $others)
    . section('/require', 'AuthNtlmExtendedProtection require') . section('/off', 'AuthNtlmExtendedProtection off')
    . section('/both', "AuthNtlmBasicProvider file\nAuthUserFile $root/conf/users\nAuthNtlmNegotiate On")
    . section('/named', 'AuthNtlmTargetInfo domain=EXAMPLE computer=MAIL dnsdomain=example.com dnscomputer=mail.example.com dnstree=example.com')
    . section('/few', 'AuthNtlmFailures 3 60') . section('/negotiate', 'AuthNtlmNegotiate On')
    . section('/rpc/rpcproxy.dll', "SetHandler rpcproxy\nRpcRequireTLS off\nRpcValidPorts 127.0.0.1:1-65535")
    . "Listen 127.0.0.1:$tls\n<VirtualHost 127.0.0.1:$tls>\nServerName localhost:$tls\nSSLEngine On\nSSLCertificateFile $root/conf/server.crt\n"
    . "SSLCertificateKeyFile $root/conf/server.key\n</VirtualHost>\n")->start;

sub dial { my (%arg) = @_; return RPCH::HTTP->dial(port => $arg{tls} ? $tls : $httpd->{port}, tls => $arg{tls} ? RPCH::Test::tls() : undef, name => 'connection') }
# One request and all of its answer; the head.
sub get {
    my ($h, $path, @headers) = @_;
    $h->request('GET', $path, headers => \@headers);
    my $head = $h->head or return { status => 0, headers => {} };
    $head->{body} = $h->body if ($head->{headers}{'content-length'} // 0) > 0;
    substr $h->{in}, 0, length($head->{body} // ''), '';
    return $head;
}
# Legs one and two, on one connection; the second head. OVER goes to authenticate().
sub login {
    my ($h, $path, $n, %over) = @_;
    my $scheme = delete $over{scheme} // 'NTLM';
    my $head = get($h, $path, RPCH::NTLMClient::header($scheme, $n->negotiate));
    $n->take_challenge(RPCH::NTLMClient::token($head, $scheme));
    return get($h, $path, RPCH::NTLMClient::header($scheme, $n->authenticate(%over)));
}
sub status_of { my ($path, $n, %over) = @_; return login(dial(tls => delete $over{tls}), $path, $n, %over)->{status} }
# Only the right thing is let in: a document that is not there.
use constant { IN => 404, OUT => 401 };
sub seen { my ($from, $text) = @_; return ok($httpd->logs(qr/$text/), "the log says: $text") }

# ---- the handshake ----
{
    my $h = dial();
    my $head = get($h, '/a');
    is($head->{status}, 401, 'without Authorization: 401');
    is($head->{headers}{'www-authenticate'}, 'NTLM', 'NTLM is offered');
    my $n = $N->new;
    $head = get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->negotiate));
    is($head->{status}, 401, 'a NEGOTIATE: 401');
    like($head->{headers}{'www-authenticate'}, qr/^NTLM \S+$/, 'with a CHALLENGE and nothing else');
    ok(($head->{headers}{connection} // '') !~ /close/i && $head->{headers}{'content-length'} > 0, 'the connection is kept');
    my $c = $n->take_challenge(RPCH::NTLMClient::token($head, 'NTLM'));
    ok($c->{flags} & RPCH::NTLMClient::EXTENDED, 'extended session security');
    is(join(' ', sort { $a <=> $b } keys %{ $c->{pairs} }), '1 2 7', 'two names and the time');
    is($c->{pairs}{2}, RPCH::NTLMClient::utf16('LOCALHOST'), 'the name that was asked for, not the machine\'s');
    is(get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->authenticate))->{status}, IN, 'a right AUTHENTICATE: in');
    is(get($h, '/a')->{status}, IN, 'the connection is known from now on');
    is(get($h, '/b')->{status}, IN, 'in another place with the same settings, too');
    is(get($h, '/other')->{status}, OUT, 'not where other users are');
    is(get($h, '/require')->{status}, OUT, 'nor where protection is stricter');
    like($httpd->log('access_log'), qr{^alice "GET /b}m, 'the access log has the user');
    is(get(dial(), '/a')->{status}, OUT, 'another connection is not known');
    is(login($h, '/a', $N->new(user => 'bob', password => 'wrong'))->{status}, OUT, 'a new handshake that fails');
    is(get($h, '/a')->{status}, OUT, 'leaves nobody known');
    is(login($h, '/a', $N->new(user => 'bob', password => 'hidden'))->{status}, IN, 'one that succeeds');
    like($httpd->log('access_log'), qr{^bob "GET /a}m, 'makes the connection his');
    my %nonce;
    for (1 .. 10) {
        $nonce{ $n->take_challenge(RPCH::NTLMClient::token(get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->negotiate)), 'NTLM'))->{nonce} }++;
    }
    is(scalar(keys %nonce), 10, 'no two challenges are alike');
}

# ---- what belongs to which connection ----
{
    my ($h, $other, $n) = (dial(), dial(), $N->new);
    is(get($h, '/a', RPCH::NTLMClient::header('NTLM', 'NTLMSSP' . "\0\3\0\0\0" . 'x' x 80))->{status}, OUT, 'an AUTHENTICATE first');
    $n->take_challenge(RPCH::NTLMClient::token(get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->negotiate)), 'NTLM'));
    my $message = $n->authenticate;
    is(get($other, '/a', RPCH::NTLMClient::header('NTLM', $message))->{status}, OUT, 'on another connection than its challenge');
    is(get($h, '/a', RPCH::NTLMClient::header('NTLM', $message))->{status}, IN, 'on its own');
    is(get($h, '/a', RPCH::NTLMClient::header('NTLM', $message))->{status}, OUT, 'once only');
    is(get($h, '/a')->{status}, OUT, 'and then nobody is known');
    get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->negotiate));
    is(get($h, '/a', RPCH::NTLMClient::header('NTLM', $message))->{status}, OUT, 'replayed to a new challenge');
    $n->take_challenge(RPCH::NTLMClient::token(get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->negotiate)), 'NTLM'));
    is(get($h, '/other', RPCH::NTLMClient::header('NTLM', $n->authenticate))->{status}, OUT, 'answered where other settings hold');
    is(get($h, '/a', 'Via: 1.1 proxy')->{status}, 403, 'behind a proxy that says so: not offered');
    is(get(dial(), '/a', 'Via: 1.1 proxy', RPCH::NTLMClient::header('NTLM', $n->negotiate))->{status}, 403, 'nor taken');
    seen(0, 'NTLM is not possible: a proxy \(Via\) may share the connection');
}

# ---- names ----
for my $case (['alice', 'EXAMPLE', IN], ['ALICE', '', IN], ['EXAMPLE\\alice', '', IN], ['alice@example.com', '', IN], ['alice', 'alice', IN],
              ['', '', OUT], ['alicee', '', OUT], ['carol', '', OUT], ['jürgen', '', IN]) {
    my ($user, $domain, $want) = @$case;
    is(status_of('/a', $N->new(user => $user, domain => $domain)), $want, encode('UTF-8', "user \"$user\" of \"$domain\""));
}
is(status_of('/a', $N->new, oem => 1), IN, 'OEM names');
is(status_of('/a', $N->new(user => "jürgen"), oem => 1, flags => 0x2), OUT, 'OEM names that are no ASCII');
seen(0, 'NTLM user .*carol.*: disabled');

# ---- what is refused ----
for my $case (['a wrong password', password => 'hidden'], ['NTLMv1', nt => 'x' x 24], ['no response', nt => ''],
              ['a response that is cut off', nt => 'x' x 40], ['a wrong MIC', mic => 'wrong'], ['a MIC of zeros', mic => 'zero'],
              ['a clock 31 minutes late', time => -31 * 60], ['31 minutes early', time => 31 * 60],
              ['pairs without an end', pairs => pack('v v', 2, 4)], ['a pair that runs out', pairs => pack('v v', 2, 60000)],
              ['a pair twice', pairs => pack('v v a4 v v a4 V', 6, 4, "\0" x 4, 6, 4, "\0" x 4, 0)]) {
    my ($name, %over) = @$case;
    my $h = dial();
    my $head = login($h, '/a', $N->new, %over);
    is($head->{status}, OUT, "$name: out");
    is($head->{headers}{'www-authenticate'}, 'NTLM', "$name: may try again");
    is(get($h, '/a')->{status}, OUT, "$name: nobody is known");
}
is(status_of('/a', $N->new, time => 29 * 60), IN, 'a clock 29 minutes early');
is(status_of('/a', $N->new, mic => 0), IN, 'a client that promises no MIC');
{
    my @answers = map { my $head = login(dial(), '/a', $_); delete $head->{headers}{date}; $head }
        $N->new(password => 'hidden'), $N->new(user => 'nobody');
    is_deeply($answers[1], $answers[0], 'an unknown user looks as a wrong password does');
}
{
    my $n = $N->new;
    my $bad = 0;
    for my $token ('!', '====', 'A', encode_base64('NTLMSSP', ''), encode_base64("NTLMSSP\0\2\0\0\0" . 'x' x 40, ''), 'A' x 7000) {
        my $h = dial();
        $bad++ if get($h, '/a', "Authorization: NTLM $token")->{status} != OUT;
    }
    is($bad, 0, 'what is no message');
    my $h = dial();
    $n->take_challenge(RPCH::NTLMClient::token(get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->negotiate)), 'NTLM'));
    my $message = $n->authenticate;
    for my $size (grep { $_ % 7 == 0 } 12 .. length($message) - 1) {
        get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->negotiate));
        $bad++ if get($h, '/a', RPCH::NTLMClient::header('NTLM', substr $message, 0, $size))->{status} != OUT;
    }
    is($bad, 0, 'beginnings of a message');
    is(get($h, '/a', RPCH::NTLMClient::header('NTLM', substr $n->negotiate, 0, 15))->{status}, OUT, 'a NEGOTIATE that is cut off');
    like(get($h, '/a', RPCH::NTLMClient::header('NTLM', $n->negotiate(rest => '')))->{headers}{'www-authenticate'}, qr/^NTLM /, 'one of 16 bytes is taken');
}

# ---- beside Basic, and under another name ----
{
    is(get(dial(), '/both')->{headers}{'www-authenticate'}, 'Negotiate, NTLM', 'without TLS no Basic is offered');
    is(get(dial(tls => 1), '/both')->{headers}{'www-authenticate'}, 'Negotiate, NTLM, Basic realm="the realm"', 'all in one answer');
    my $basic = 'Authorization: Basic ' . encode_base64('alice:secret', '');
    is(get(dial(tls => 1), '/both', $basic)->{status}, IN, 'Basic under TLS');
    is(get(dial(), '/both', $basic)->{status}, OUT, 'not without');
    is(get(dial(tls => 1), '/both', 'Authorization: Basic ' . encode_base64('alice:hidden', ''))->{status}, OUT, 'nor with a wrong password');
    is(get(dial(tls => 1), '/a', $basic)->{status}, OUT, 'nor where it is not offered');
    is(status_of('/both', $N->new, tls => 1), IN, 'NTLM there, too');
    is(status_of('/negotiate', $N->new, scheme => 'Negotiate'), IN, 'raw NTLMSSP under the name Negotiate');
    is(get(dial(), '/a', RPCH::NTLMClient::header('Negotiate', $N->new->negotiate))->{status}, OUT, 'only where it is offered');
    is(status_of('/both', $N->new(password => 'hidden'), scheme => 'Negotiate'), OUT, 'with the right password');
}

# ---- target information ----
{
    my $n = $N->new;
    my $c = $n->take_challenge(RPCH::NTLMClient::token(get(dial(), '/named', RPCH::NTLMClient::header('NTLM', $n->negotiate)), 'NTLM'));
    my %names = (1 => 'MAIL', 2 => 'EXAMPLE', 3 => 'mail.example.com', 4 => 'example.com', 5 => 'example.com');
    is_deeply({ map { $_ => $c->{pairs}{$_} } keys %names }, { map { $_ => RPCH::NTLMClient::utf16($names{$_}) } keys %names }, 'AuthNtlmTargetInfo');
    is($c->{target}, RPCH::NTLMClient::utf16('EXAMPLE'), 'its domain is the target name');
}

# ---- extended protection ----
{
    my $cert = PEM_file2cert("$root/conf/server.crt");
    my $der = Net::SSLeay::PEM_get_string_X509($cert);
    $der = MIME::Base64::decode_base64($der =~ s/-----[^-]+-----//gr);
    my ($right, $wrong, $none) = (RPCH::NTLMClient::binding($der), 'w' x 16, "\0" x 16);
    for my $case (['/off', $wrong, IN], ['/a', $right, IN], ['/a', undef, IN], ['/a', $none, IN], ['/a', $wrong, OUT],
                  ['/require', $right, IN], ['/require', undef, OUT], ['/require', $none, OUT], ['/require', $wrong, OUT]) {
        my ($path, $binding, $want) = @$case;
        my $name = !defined $binding ? 'no binding' : $binding eq $right ? 'the right binding' : $binding eq $none ? '16 zeros' : 'a wrong binding';
        is(status_of($path, $N->new, tls => 1, binding => $binding), $want, "$path: $name");
    }
    is(status_of('/require', $N->new, binding => $right), OUT, '/require: without TLS');
    is(status_of('/a', $N->new, binding => $right), OUT, '/a: bound, but TLS ends elsewhere');
    seen(0, 'bound to another certificate than ours');
}

# ---- guessing ----
{
    is(status_of('/few', $N->new(password => 'hidden')), OUT, "a wrong password, $_") for 1 .. 3;
    is(status_of('/few', $N->new), OUT, 'then the right one is not looked at');
    is(status_of('/a', $N->new), IN, 'but where there is no limit');
}

# ---- changes ----
{
    is(status_of('/a', $N->new(user => 'dave')), OUT, 'a user who is not there');
    users_file("ntlm-$$", account(alice => 'secret'), 'no line', account(dave => 'secret'));
    is(status_of('/a', $N->new(user => 'dave')), IN, 'is there once the file says so');
    is(status_of('/a', $N->new(user => 'bob', password => 'hidden')), OUT, 'and another is not any more');
    seen(0, 'AuthNtlmUserFile \S+: 1 lines are not .* the first is line 2');
    unlink $users;
    is(status_of('/a', $N->new(user => 'dave')), IN, 'the last one stays when the file is gone');
    users_file("ntlm-$$", account(alice => 'secret'));
}

# ---- channels ----
{
    my $target = $native->target;
    for my $way ('with AUTHENTICATE, after a leg without query', 'without Authorization, after an echo') {
        my %conn = map {
            my ($h, $n, $method) = (dial(), $N->new, "RPC_${_}_DATA");
            my $leg = sub { $h->request($method, "/rpc/rpcproxy.dll$_[0]", length => 0, headers => [@_[1 .. $#_]]); my $head = $h->head; $head->{body} = $h->body; $head };
            $n->take_challenge(RPCH::NTLMClient::token($leg->('', 'Expect: 100-continue', RPCH::NTLMClient::header('NTLM', $n->negotiate)), 'NTLM'));
            my $answer = RPCH::NTLMClient::header('NTLM', $n->authenticate);
            if ($way =~ /echo/) {
                is($leg->('', $answer)->{status}, 200, "$_: the echo is answered");
                $answer = undef;
            }
            ($_ => { connection => $h, headers => [$answer // ()] });
        } qw(IN OUT);
        my $c = plain(port => $httpd->{port}, target => $target, user => undef);
        $c->open_in(%{ $conn{IN} });
        $c->open_out(%{ $conn{OUT} });
        $c->send_b1;
        $c->send_a1;
        ok(eval { $c->opened; 1 }, "$way: a virtual connection") or diag $@;
        is(eval { rpc_parse($c->call(request_pdu(1, 'hello')))->{stub} }, 'hello', "$way: works");
        $c->close;
    }
}

# ---- configtest ----
for my $case (['AuthNtlmProvider nobody', qr/AuthNtlmProvider: "nobody": expected file, winbind/], ['AuthNtlmUserFile /nowhere/file', qr/cannot be read/],
              ['AuthNtlmBasicProvider nobody', qr/"nobody" checks no passwords/], ['AuthNtlmExtendedProtection maybe', qr/expected off, allow or require/],
              ['AuthNtlmTargetInfo name=x', qr/expected domain=, computer=/], ['AuthNtlmTargetInfo domain=0123456789abcdef', qr/1 to 15 characters/],
              ['AuthNtlmFailures 0 5', qr/AuthNtlmFailures: expected a number of failures/], ['AuthNtlmFailures 5', qr/AuthNtlmFailures: expected/]) {
    my ($status, $out) = RPCH::Httpd->new(conf => "$case->[0]\n")->configtest;
    ok($status != 0 && $out =~ $case->[1], "configtest: $case->[0]") or diag $out;
}
$native->close;
done_testing;
