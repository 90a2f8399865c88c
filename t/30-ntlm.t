# AuthType NTLM over HTTP, seen from outside: what is offered, the handshake, to whom a connection
# belongs, which messages are accepted, and what this means for channels. Channel
# bindings are in t/32-ntlm-binding.t.

use strict;
use warnings;
use utf8;
use Digest::SHA qw(sha1_base64);
use Encode qw(encode);
use MIME::Base64 qw(encode_base64);
use POSIX ();
use Test::More;
use RPCH::File qw(slurp);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::NTLM qw(smbpasswd_line filetime);
use RPCH::Poll qw(turn);
use RPCH::Root;
use RPCH::RPC qw(bind_pdu);
use RPCH::SPNEGO qw(neg_init neg_resp mech_list read_resp);
use RPCH::Test;

my $root = vars('serverroot');
my $builder = Test::More->builder;
binmode $_, ':encoding(UTF-8)' for $builder->output, $builder->failure_output, $builder->todo_output;

my $tls_port = RPCH::Root::free_ports(1);
my $httpd = RPCH::Httpd->new;
my ($users, $others) = map { "$httpd->{dir}/$_.smbpasswd" } qw(users others);
put($users, accounts());
put($others, smbpasswd_line(alice => 'elsewhere'));

sub put {
    my ($file, @text) = @_;
    open my $fh, '>', "$file.new" or die "$file: $!\n";
    print $fh @text;
    close $fh or die "$file: $!\n";
    chmod 0644, "$file.new";
    return rename "$file.new", $file;
}

sub accounts {
    my @lines = ([alice => 'secret'], [bob => 'hidden'], [carol => 'secret', 'DU'], ['Zoë' => 'naïve'],
                 ['Ärger' => 'secret'], ['Öztürk' => 'secret'], [long => 'x' x 100]);
    return map { smbpasswd_line(@$_) } @lines;
}

# A location in which each request gets the same document.
sub location {
    my ($path, $more) = @_;
    return "<Location /in/$path>\nAuthType NTLM\nAuthName here\nAuthNtlmUserFile $users\n"
           . ($more // '') . "\n" . (($more // '') =~ /^Require/m ? '' : "Require valid-user\n") . "</Location>\n";
}

my $basic = "AuthNtlmBasicProvider file\nAuthUserFile $httpd->{dir}/htpasswd";
put("$httpd->{dir}/htpasswd", map { "$_->[0]:{SHA}" . sha1_base64(encode('UTF-8', $_->[1])) . "=\n" }
    [alice => 'secret'], [encode('UTF-8', 'Zoë'), 'naïve'], [euro => '5 €'], ['who@there.test', 'own'], [who => 'secret']);
my $rpc = "AuthType NTLM\nAuthName rpc\nAuthNtlmUserFile $users\nRequire valid-user\nSetHandler rpcproxy\n"
        . "RpcRequireTLS off\nRpcValidPorts 127.0.0.1:1024-65535\n";
put("$httpd->{dir}/in.txt", "in\n");
$httpd->configure(<<"CONF" . join '',
KeepAlive On
MaxKeepAliveRequests 0
LimitRequestFieldSize 32768
LogLevel auth_ntlm:debug
AliasMatch ^/in/ $httpd->{dir}/in.txt
<Directory $httpd->{dir}>
    Require all granted
</Directory>
<Location /rpc/rpcproxy.dll>
$rpc</Location>
<VirtualHost 127.0.0.1:$httpd->{port}>
    ServerName localhost
    ServerAlias web.contoso.test *.alias.test
</VirtualHost>
Listen 127.0.0.1:$tls_port
<VirtualHost 127.0.0.1:$tls_port>
    ServerName localhost:$tls_port
    @{[ RPCH::Httpd->tls_lines ]}
</VirtualHost>
CONF
    location('here'), location('there'), location('others', "AuthNtlmUserFile $others"),
    location('strict', 'AuthNtlmExtendedProtection off'), location('short', 'AuthNtlmOmitDomain On'),
    location('bob', 'Require user bob'), location('any', "AuthNtlmNegotiate On\n$basic"),
    location('charset', "$basic\nAuthNtlmBasicCharset windows-1252"),
    location('negotiate', 'AuthNtlmNegotiate On'),
    location('named', 'AuthNtlmTargetInfo domain=CONTOSO computer=EX1 dnsdomain=contoso.test '
                      . 'dnscomputer=ex1.contoso.test dnstree=forest.test'),
    location('targets', 'AuthNtlmTargets front.test cifs/files.test'), location('anywhere', 'AuthNtlmTargets any'),
    location('dnsonly', 'AuthNtlmTargetInfo dnsdomain=contoso.test'),
    location('guess', 'AuthNtlmFailures 3 600'), location('unset') =~ s/^AuthNtlmUserFile.*\n//mr);
$httpd->start;

# ---- steps ----

my $tls = { %{ RPCH::Test::tls() } };
sub dial { my (%opt) = @_; return RPCH::HTTP->dial(port => $httpd->{port}, name => 'connection', %opt) }
sub dial_tls { return dial(port => $tls_port, tls => $tls) }
sub ask { return RPCH::NTLM::ask(@_) }
sub get { my ($http, $path, %opt) = @_; return ask($http, "/in/$path", undef, %opt) }
sub offered { my ($answer) = @_; return $answer->{headers}{'www-authenticate'} // '' }

# A whole login on a connection of its own: the status of its second leg.
sub try_in {
    my ($path, %arg) = @_;
    my $http = dial();
    my $answer = RPCH::NTLM->new(%arg)->login($http, "/in/$path");
    $http->close;
    return $answer->{status};
}

# The parts of an answer that have to be the same, which excludes the date.
sub sans_date {
    my ($answer) = @_;
    my %headers = %{ $answer->{headers} };
    delete $headers{date};
    return { %$answer, headers => \%headers };
}

# Tests a line of the access log, which is written after the answer.
sub noted {
    my ($re, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($httpd->logs($re, 'access_log'), $name);
}

# Tests that the connection was kept: another request on it is answered.
sub is_kept {
    my ($http, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return like(get($http, 'here')->{status}, qr/^(?:200|401)$/, $name);
}

# ---- what is offered ----
{
    my $http = dial();
    my $answer = get($http, 'here');
    is($answer->{status}, 401, 'no Authorization: 401');
    is(offered($answer), 'NTLM', 'NTLM is offered, alone');
    is_kept($http, 'the connection is kept');
    is(offered(get($http, 'negotiate')), 'Negotiate, NTLM', 'Negotiate before it, where configured');
    is(offered(get($http, 'any')), 'Negotiate, NTLM', 'no Basic without TLS');
    is(get($http, 'any', user => 'alice', password => 'secret')->{status}, 401, 'nor is it taken');
    my $secure = dial_tls();
    is(offered(get($secure, 'any')), 'Negotiate, NTLM, Basic realm="here"',
        'all three in one answer under TLS');
    is(get($secure, 'any', user => 'alice', password => 'secret')->{status}, 200, 'Basic is taken there');
    is(get($secure, 'any', user => 'alice', password => 'wrong')->{status}, 401, 'if the password is right');
    is(get($secure, 'any')->{status}, 401, 'and does not make the connection known');
    is(offered(get($secure, 'here')), 'NTLM', 'no Basic where no provider is');
    is(get($secure, 'here', user => 'alice', password => 'secret')->{status}, 401, 'nor is it taken there');
    is(get($http, 'here', headers => ['Authorization: Digest username="alice"'])->{status}, 401,
        'a scheme that is not offered');
    is(ask($http, '/in/here', RPCH::NTLM->new->negotiate, scheme => 'Negotiate')->{token}, undef,
        'nor Negotiate where it is not');
    $_->close for $http, $secure;
}

# ---- the handshake ----
{
    my $http = dial();
    my $ntlm = RPCH::NTLM->new;
    my $first = $ntlm->knock($http, '/in/here', method => 'POST', length => 0);
    is($first->{status}, 401, 'NEGOTIATE: 401');
    like(offered($first), qr/^NTLM [A-Za-z0-9+\/=]+$/, 'with a CHALLENGE, and nothing beside it');
    ok(defined $first->{headers}{'content-length'}, 'Content-Length');
    unlike($first->{headers}{connection} // '', qr/close/i, 'the connection is kept');
    is(ask($http, '/in/here', $ntlm->authenticate)->{status}, 200, 'AUTHENTICATE: 200');
    is(get($http, 'here')->{status}, 200, 'the next request needs no Authorization');
    is(get($http, 'there')->{status}, 200, 'nor elsewhere with the same settings');
    is(get($http, 'others')->{status}, 401, 'but where other users are');
    is(get($http, 'strict')->{status}, 401, 'and where other protection is');
    is(get($http, 'short')->{status}, 401, 'and where users are called otherwise');
    is(get($http, 'bob')->{status}, 401, 'Require user is asked: 401');
    is(offered(get($http, 'bob')), 'NTLM', 'with the offer');
    is(get($http, 'here')->{status}, 200, 'still known afterwards');
    is(RPCH::NTLM->new(user => 'bob', password => 'hidden')->login($http, '/in/bob')->{status}, 200,
        'another NEGOTIATE makes it another user\'s');
    noted(qr{^alice "GET /in/there HTTP/1\.1" 200}m, 'REMOTE_USER is in the access log');
    noted(qr{^bob "GET /in/bob HTTP/1\.1" 200}m, 'each time the right one');
    noted(qr{^- "POST /in/here HTTP/1\.1" 401}m, 'and nobody before');
    RPCH::NTLM->new->knock($http, '/in/here');
    is(get($http, 'here')->{status}, 401, 'a NEGOTIATE alone makes the connection nobody\'s');
    $http->close;
}

# ---- a handshake is of one connection, one time ----
{
    my $type3 = do {
        my ($http, $ntlm) = (dial(), RPCH::NTLM->new);
        $ntlm->knock($http, '/in/here');
        $http->close;
        $ntlm->authenticate;
    };
    my $fresh = dial();
    is(ask($fresh, '/in/here', $type3)->{status}, 401, 'AUTHENTICATE before any NEGOTIATE');
    is(offered(ask($fresh, '/in/here', $type3)), 'NTLM', 'is answered by the offer');

    my ($one, $two) = (dial(), dial());
    my ($ntlm, $other) = (RPCH::NTLM->new, RPCH::NTLM->new);
    $ntlm->knock($one, '/in/here');
    $other->knock($two, '/in/here');
    is(ask($two, '/in/here', $ntlm->authenticate)->{status}, 401, 'on another connection than its challenge');
    is(ask($two, '/in/here', $other->authenticate)->{status}, 401, 'which uses that one\'s challenge up');
    is(ask($one, '/in/here', $ntlm->{authenticate})->{status}, 200, 'on its own');
    is(ask($one, '/in/here', $ntlm->{authenticate})->{status}, 401, 'a second time on it');
    is(get($one, 'here')->{status}, 401, 'which ends what the first had shown');
    $ntlm->knock($one, '/in/here');
    is(ask($one, '/in/here', $ntlm->{authenticate})->{status}, 401, 'replayed after a new challenge');
    is(ask($one, '/in/here', $ntlm->authenticate)->{status}, 401, 'no second AUTHENTICATE after a failed one');
    is($ntlm->login($one, '/in/here')->{status}, 200, 'but a new handshake');

    $ntlm->knock($two, '/in/here');
    is(ask($two, '/in/others', $ntlm->authenticate)->{status}, 401, 'begun here, ended where other users are');
    $ntlm->knock($two, '/in/here');
    is(get($two, 'here')->{status}, 401, 'a request between the two messages');
    is(ask($two, '/in/there', $ntlm->authenticate)->{status}, 200, 'does no harm');
    my $server_sent = $ntlm->{challenge};
    is(ask($two, '/in/here', $server_sent)->{status}, 401, 'a CHALLENGE is no message of a client');
    is(get($two, 'here')->{status}, 401, 'and ends what was');
    $_->close for $fresh, $one, $two;
}

# ---- wrong passwords, users and responses ----
{
    my $answer_to = sub {
        my $http = dial();
        my $answer = RPCH::NTLM->new(%{ $_[0] })->login($http, '/in/here');
        is_kept($http, 'kept after a failure');
        $http->close;
        return sans_date($answer);
    };
    my @answers = map { $answer_to->($_) }
                  { password => 'wrong' }, { user => 'mallory' }, { user => 'carol' }, { password => '' },
                  { v1 => 1 }, { mic => 'wrong' };
    is($answers[0]{status}, 401, 'a wrong password: 401');
    is(offered($answers[0]), 'NTLM', 'may try again');
    is_deeply($answers[1], $answers[0], 'an unknown user gets the same answer: status, headers, body');
    is_deeply($answers[2], $answers[0], 'so does a disabled one');
    is_deeply($answers[3], $answers[0], 'so does no password');
    is_deeply($answers[4], $answers[0], 'NTLMv1 is refused, though the password is right');
    is_deeply($answers[5], $answers[0], 'and a wrong MIC');
    like($httpd->log, qr/NTLM user "carol": disabled/, 'the log knows the difference: disabled');
    like($httpd->log, qr/NTLM user "mallory": unknown/, 'unknown');
    like($httpd->log, qr/NTLM user "alice": wrong password/, 'wrong password');
    like($httpd->log, qr/NTLM refused: an NTLMv1 response/, 'NTLMv1');
    is(try_in('here', anonymous => 1), 401, 'anonymous');
    is(try_in('here', user => ''), 401, 'no user');
    is(try_in('here', hash => "\0" x 16, user => 'mallory'), 401, 'an unknown user with a hash of zeros');
}

# ---- MIC and keys ----
is(try_in('here', @$_[1 .. $#$_ - 1]), $_->[-1], $_->[0])
    for ['a MIC', 200], ['none promised, none sent', mic => 0, 200],
        ['no Version either', mic => 0, version => 0, 200],
        ['a MIC, but no Version flag', version => 0, 200], ['promised and wrong', mic => 'wrong', 401],
        ['promised and zero', mic => 'zero', 401], ['promised without a place', mic => 'missing', 401],
        ['promised without a place or Version', mic => 'missing', version => 0, 401],
        ['sent, but not promised', mic => 'unpromised', 200], ['key exchange', key_exch => 1, 200],
        ['with a wrong MIC', key_exch => 1, mic => 'wrong', 401],
        ['key exchange without a MIC', key_exch => 1, mic => 0, 200],
        ['key exchange without a key', key_exch => 'flag', 401],
        ['names in NEGOTIATE', names => 1, domain => 'DOM', 200],
        ['and no Version', names => 1, domain => 'DOM', version => 0, 200];
{
    # The MIC covers all three messages. Here one bit of the first or of the second is changed on its way.
    for my $which (qw(negotiate challenge)) {
        my ($http, $ntlm) = (dial(), RPCH::NTLM->new);
        $ntlm->knock($http, '/in/here');
        substr($ntlm->{$which}, 12 + ($which eq 'challenge' ? 8 : 0), 1) ^= "\x10";
        is(ask($http, '/in/here', $ntlm->authenticate)->{status}, 401, "a $which changed on its way");
        $http->close;
    }
}

# ---- time ----
is(try_in('here', late => $_->[0] * 60), $_->[1], "a clock $_->[0] minutes off: $_->[1]")
    for [31, 401], [-31, 401], [29, 200], [-29, 200], [-60 * 24 * 365 * 500, 401];

# ---- names ----
is(try_in('here', @$_[1 .. $#$_ - 1]), $_->[-1], $_->[0])
    for ['Unicode', 200], ['OEM', oem => 1, 200], ['a domain', domain => 'DOM', 200],
        ['OEM with a domain', oem => 1, domain => 'DOM', 200],
        ['a domain in lower case', domain => 'dom', 200], ['DOM\\user', user => 'DOM\\alice', 200],
        ['user@realm', user => 'alice@contoso.test', 200],
        ['OEM DOM\\user', oem => 1, user => 'DOM\\alice', 200], ['another case', user => 'ALiCE', 200],
        ['OEM in another case', oem => 1, user => 'ALICE', 200],
        ['no workstation', workstation => '', 200], ['not ASCII', user => 'Zoë', password => 'naïve', 200],
        ['not ASCII, begins with it', user => 'Ärger', 200],
        ['not ASCII, in another case', user => 'ZOË', password => 'naïve', 200],
        ['öztürk for Öztürk', user => 'öztürk', 200], ['ÖZTÜRK', user => 'ÖZTÜRK', 200], ['Ozturk', user => 'Ozturk', 401],
        ['a password of 100 characters', user => 'long', password => 'x' x 100, 200],
        ['not ASCII in OEM', oem => 1, user => 'Zoë', password => 'naïve', 401],
        ['a NUL in it', user => "alice\0", 401], ['a newline in it', user => "alice\n", 401],
        ['very long', user => 'a' x 2000, 401], ['a NUL in the domain', domain => "D\0", 401],
        ['a colon', user => 'alice:1000', 401], ['nothing before the realm', user => '@contoso.test', 401],
        ['nothing behind the domain', user => 'DOM\\', 401];
# ---- AV pairs ----
is(try_in('here', pairs => $_->[1]), $_->[2], "AV pairs: $_->[0]")
    for ['a target name', [[9, encode('UTF-16LE', 'HTTP/localhost')]], 200],
        ['an unknown one', [[4711, 'x']], 200], ['an empty one', [[9, '']], 200],
        ['flags twice', [[6, "\0" x 4]], 401], ['flags of 2 bytes', [[6, "\2\0"]], 401],
        ['a binding of 15 bytes', [[10, 'x' x 15]], 401], ['a long one', [[9, 'x' x 6000]], 401];

# ---- the timestamp that was sent ----
{
    # The timestamp was taken out or changed on its way to the client, which then sends no MIC
    for (['taken out', sub { return grep { $_->[0] != 7 } @_ }],
         ['another', sub { return map { $_->[0] == 7 ? [7, pack 'Q<', filetime() - 1] : $_ } @_ }]) {
        my ($name, $change) = @$_;
        my ($http, $ntlm) = (dial(), RPCH::NTLM->new(mic => 0));
        $ntlm->knock($http, '/in/here');
        @{ $ntlm->{sent}{pairs} } = $change->(@{ $ntlm->{sent}{pairs} });
        is(ask($http, '/in/here', $ntlm->authenticate)->{status}, 401, "the server's timestamp: $name");
        is(get($http, 'here')->{status}, 401, 'and the connection is nobody\'s');
        $http->close;
    }
    like($httpd->log, qr/:info\].* NTLM refused: the response lacks the timestamp that was sent: the handshake was altered/,
        'the log says why');
}

# ---- the service that a response was made for ----
{
    is(try_in('here', target => $_), 200, "MsvAvTargetName $_")
        for qw(HTTP/localhost http/LocalHost HTTP/127.0.0.1 HTTP/localhost:8443 HTTP/localhost. HTTP/localhost/REALM
               HTTP/localhost@REALM HTTP/web.contoso.test HTTP/any.alias.test localhost cifs/LOCALHOST);
    is(try_in('here', target => $_), 401, "MsvAvTargetName $_")
        for qw(HTTP/mallory.test HTTP/localhost.mallory.test cifs/localhost2 cifs/mallory MSSQLSvc/localhost HTTP/ /localhost
               HTTP/alias.test HTTP/127.0.0.2 HTTP/[::1] HTTP/localhos);
    like($httpd->log, qr{:info\].* NTLM refused: the response was made for "HTTP/mallory\.test": it was relayed, or AuthNtlmTargets lacks},
        'the log says why');
    # An attacker who relays a login can choose the Host field
    my %by_host = ('mallory.test' => ['HTTP/mallory.test', 'cifs/MALLORY'], '127.0.0.2' => ['HTTP/127.0.0.2', 'cifs/WEB']);
    for my $host (sort keys %by_host) {
        for my $target (@{ $by_host{$host} }) {
            my $http = dial();
            is(RPCH::NTLM->new(target => $target)->login($http, '/in/here', host => $host)->{status}, 401,
                "Host: $host does not make $target ours");
            $http->close;
        }
    }
    is(try_in('targets', target => $_->[0]), $_->[1], "AuthNtlmTargets: $_->[0]")
        for ['HTTP/front.test', 200], ['http/FRONT.test:443', 200], ['cifs/files.test', 200], ['HTTP/localhost', 401],
            ['cifs/front.test', 401], ['HTTP/files.test', 401];
    is(try_in('anywhere', target => 'cifs/mallory.test'), 200, 'AuthNtlmTargets any');
    is(try_in('named', target => $_->[0]), $_->[1], "AuthNtlmTargetInfo: $_->[0]")
        for ['HTTP/ex1.contoso.test', 200], ['HTTP/EX1', 200], ['cifs/EX1', 200], ['HTTP/CONTOSO', 401];
}

# ---- garbage ----
{
    my $http = dial();
    my $authorization = sub { return get($http, 'here', headers => ["Authorization: NTLM$_[0]"]) };
    my $foreign = encode_base64('NTLMSSQ' . "\0\1\0\0\0" . 'x' x 28, '');
    my $long = encode_base64(RPCH::NTLM->new->negotiate . 'x' x 12288, '');
    my %texts = ('no token' => '', 'a space' => ' ', 'one letter' => ' A', 'no base64' => ' !!!!',
                 'padding alone' => ' ====', 'padding inside' => ' TlRM=VNTUAABAAAA',
                 'cut off' => ' TlRMTVNTUAABAAA', 'another signature' => " $foreign",
                 'two tokens' => ' TlRMTVNT UAABAAAA', 'oversized' => ' ' . 'A' x 20000,
                 'too long a NEGOTIATE' => " $long");
    for my $name (sort keys %texts) {
        my $answer = $authorization->($texts{$name});
        is("$answer->{status} " . offered($answer), '401 NTLM', "a token that is none: $name");
    }
    is_kept($http, 'the connection is kept through all of it');
    my $type1 = RPCH::NTLM->new(names => 1, domain => 'DOM')->negotiate;
    my @challenged = grep { ask($http, '/in/here', substr $type1, 0, $_)->{token} } 1 .. length $type1;
    is("@challenged", join(' ', 16 .. length $type1), 'NEGOTIATE cut off anywhere: taken with 16 bytes');
    is(ask($http, '/in/here', pack 'a8 V V', "NTLMSSP\0", 1, 0x200)->{token}, undef,
        'NEGOTIATE without a character set');

    my ($ntlm, %status) = (RPCH::NTLM->new(domain => 'DOM'));
    my $longest = do { $ntlm->knock($http, '/in/here'); length $ntlm->authenticate };
    for my $size (1 .. $longest) {
        $ntlm->knock($http, '/in/here');
        my $answer = ask($http, '/in/here', substr $ntlm->authenticate, 0, $size);
        push @{ $status{ $answer->{status} } }, $size;
    }
    is_deeply($status{200}, [$longest], 'AUTHENTICATE cut off anywhere: 401');
    is(join(' ', sort keys %status), '200 401', 'and nothing else');

    # Each field in turn begins or ends outside the message
    my @wrong = (['begins behind the end', 4, pack 'V', 0x7fffffff], ['begins in the header', 4, pack 'V', 8],
                 ['is longer', 0, pack 'v v', 0xffff, 0xffff],
                 ['ends at the end of all numbers', 0, pack 'v v V', 16, 16, 0xfffffff8]);
    for my $field (12, 20, 28, 36, 44, 52) {
        for my $wrong (@wrong) {
            $ntlm->{mic} = 0;
            $ntlm->knock($http, '/in/here');
            my $message = $ntlm->authenticate;
            next if $field == 52 && $wrong->[1] == 4;     # an empty field may be anywhere
            substr $message, $field + $wrong->[1], length $wrong->[2], $wrong->[2];
            is(ask($http, '/in/here', $message)->{status}, 401, "the field at $field $wrong->[0]");
        }
    }
    $http->close;
    unlike($httpd->log, qr/exit signal/, 'no child has died of it');
}

# ---- what the server tells about itself ----
{
    my ($http, $ntlm) = (dial(), RPCH::NTLM->new);
    my %nonces;
    $ntlm->knock($http, '/in/here'), $nonces{ $ntlm->{sent}{nonce} }++ for 1 .. 20;
    is(scalar keys %nonces, 20, 'each challenge is another');
    is_deeply([sort keys %{ $ntlm->{sent}{info} }], [qw(nb_computer nb_domain timestamp)],
        'by default two names and the time');
    is($ntlm->{sent}{info}{$_}, 'LOCALHOST', "$_ is the name that was asked for") for qw(nb_computer nb_domain);
    cmp_ok(abs($ntlm->{sent}{info}{timestamp} - filetime()), '<', 60 * 10_000_000, 'the time is now');
    for (['mail.example.com', 'MAIL'], ['127.0.0.1', 'WEB'], ['[::1]', 'WEB'],
         ['averyveryverylongname.example.com', 'AVERYVERYVERYLO']) {
        my ($host, $name) = @$_;
        $ntlm->knock($http, '/in/here', host => $host);
        is("$ntlm->{sent}{name} $ntlm->{sent}{info}{nb_computer}", "$name $name", "asked for $host");
    }
    my ($machine) = split /\./, (POSIX::uname())[1];
    $ntlm->knock($http, '/in/here', version => '1.0', headers => ['Connection: keep-alive']);
    unlike($ntlm->{challenge}, qr/\Q$_\E/i, 'nothing of the machine\'s own name')
        for map { encode('UTF-16LE', $_), $_ } grep { length > 3 && $_ ne 'localhost' } $machine;
    $ntlm->knock($http, '/in/named');
    my %info = %{ $ntlm->{sent}{info} };
    delete $info{timestamp};
    my %named = (nb_domain => 'CONTOSO', nb_computer => 'EX1', dns_domain => 'contoso.test',
                 dns_computer => 'ex1.contoso.test', dns_tree => 'forest.test');
    is_deeply(\%info, \%named, 'AuthNtlmTargetInfo');
    is($ntlm->{sent}{name}, 'CONTOSO', 'its domain is the target name');
    $ntlm->knock($http, '/in/dnsonly');
    is_deeply([sort keys %{ $ntlm->{sent}{info} }], [qw(dns_domain timestamp)],
        'what is not named is not told');
    is(ask($http, '/in/dnsonly', $ntlm->authenticate)->{status}, 200, 'and a login with that');
    $http->close;

    my $flags = sub {
        my ($h, $n) = (dial(), RPCH::NTLM->new(@_));
        $n->knock($h, '/in/here');
        $h->close;
        return $n->{sent}{flags};
    };
    my $default = $flags->();
    ok($default & RPCH::NTLM::UNICODE && !($default & RPCH::NTLM::OEM), 'Unicode for Unicode');
    ok($default & RPCH::NTLM::EXTENDED && $default & RPCH::NTLM::TARGET_INFO,
        'extended session security, target information');
    ok(!($default & RPCH::NTLM::KEY_EXCH), 'no key exchange unasked');
    my $oem = $flags->(oem => 1);
    ok(!($oem & RPCH::NTLM::UNICODE) && $oem & RPCH::NTLM::OEM, 'OEM for OEM');
    ok(!($flags->(key_exch => 1, no_flags => RPCH::NTLM::KEY_128) & RPCH::NTLM::KEY_EXCH),
        'no key exchange with less than 128 bits');
    ok(!($flags->(flags => 0x80) & 0x80), 'no LM key');
}

# ---- connections ----
{
    for my $expect (0, 1) {
        my ($http, $ntlm) = (dial(), RPCH::NTLM->new);
        my @expect = $expect ? (headers => ['Expect: 100-continue']) : ();
        my $what = $expect ? 'Expect: 100-continue on every leg' : 'no Expect';
        my $answer = $ntlm->knock($http, '/in/here', method => 'POST', length => 0, @expect);
        is($answer->{status}, 401, "$what, no body: 401");
        unlike($answer->{headers}{connection} // '', qr/close/i, 'the connection is kept');
        is(ask($http, '/in/here', $ntlm->authenticate, method => 'POST', length => 0, @expect)->{status}, 200,
            "$what: 200");
        $http->close;
    }
    my ($http, $ntlm) = (dial(), RPCH::NTLM->new);
    $ntlm->knock($http, '/in/here', headers => ['Expect: 100-continue']);
    is(ask($http, '/in/here', $ntlm->authenticate, headers => ['Expect: 100-continue'])->{status}, 200,
        'Expect and no Content-Length');
    $http->close;

    ($http, $ntlm) = (dial(), RPCH::NTLM->new);
    my $answer = $ntlm->knock($http, '/in/here', version => '1.0');
    like($answer->{headers}{connection} // '', qr/keep-alive/i, 'HTTP/1.0 with Connection: keep-alive: kept');
    is(ask($http, '/in/here', $ntlm->authenticate, version => '1.0')->{status}, 200, 'and let in');
    is(get($http, 'here', version => '1.0')->{status}, 200, 'also without Authorization');
    $http->close;

    # The body of a request with the first message is read and discarded
    ($http, $ntlm) = (dial(), RPCH::NTLM->new);
    $http->hold;
    $http->request('POST', '/in/here', length => 9,
        headers => ['Authorization: NTLM ' . encode_base64($ntlm->negotiate, '')]);
    $http->put('some body')->hold(0);
    $http->head;
    $http->body;
    ($answer) = $http->{head}{headers}{'www-authenticate'} =~ /NTLM (\S+)/;
    $ntlm->challenge(MIME::Base64::decode_base64($answer));
    is(ask($http, '/in/here', $ntlm->authenticate)->{status}, 200, 'a body with NEGOTIATE does no harm');
    # When the client waits for 100 Continue and its body is short, the server asks for the body
    for (['of 9 bytes', length => 9, 'some body'], ['in chunks', headers => ['Transfer-Encoding: chunked'], "4\r\nsome\r\n5\r\n body\r\n0\r\n\r\n"],
         ['of 200,000 bytes', length => 200_000, 'x' x 200_000]) {
        my ($name, @opt) = @$_;
        my $body = pop @opt;
        my %opt = @opt;
        my ($h, $n) = (dial(), RPCH::NTLM->new);
        my $send = sub {
            my ($message) = @_;
            $h->request('POST', '/in/here', %opt, headers => [@{ $opt{headers} || [] }, 'Expect: 100-continue',
                        'Authorization: NTLM ' . encode_base64($message, '')]);
            is($h->continued, 'HTTP/1.1 100 Continue', "a body $name and Expect: 100-continue: it is asked for");
            $h->put($body);
            my $head = $h->head or return { status => 'closed', headers => {} };
            $h->body;
            return $head;
        };
        my $head = $send->($n->negotiate);
        is($head->{status}, 401, 'a challenge');
        $n->challenge(MIME::Base64::decode_base64($head->{headers}{'www-authenticate'} =~ s/NTLM //r));
        is($send->($n->authenticate)->{status}, 200, 'and a login on the same connection');
        is_kept($h, 'which is kept');
        $h->close;
    }
    for (['of 300,000 bytes', 401, length => 300_000], ['in chunks without an end', 401, headers => ['Transfer-Encoding: chunked']]) {
        my ($name, $status, %opt) = @$_;
        my ($h, $n) = (dial(), RPCH::NTLM->new);
        $h->request('POST', '/in/here', %opt, headers => [@{ $opt{headers} || [] }, 'Expect: 100-continue',
                    'Authorization: NTLM ' . encode_base64($n->negotiate, '')]);
        if ($opt{headers}) {
            $h->continued;
            $h->put("8000\r\n" . 'x' x 0x8000 . "\r\n") for 1 .. 10;
        }
        my $answer = $h->head;
        is($answer->{status}, $status, "a body $name: an answer before its end");
        is(scalar @{ $h->{interim} }, $opt{headers} ? 1 : 0, 'which was not asked for') if !$opt{headers};
        like($answer->{headers}{connection}, qr/close/i, 'and the connection ends');
        $h->close;
    }
    # Two requests in one write
    $http->put(join '', map { "GET /in/$_ HTTP/1.1\r\nHost: localhost\r\n\r\n" } qw(here there others));
    my @status;
    for (1 .. 3) { $http->{head} = undef; $http->received; push @status, $http->head->{status}; $http->body }
    is("@status", '200 200 401', 'pipelined requests are known, each where it may be');
    $http->close;
}

# ---- proxies ----
{
    my ($http, $ntlm, $via) = (dial(), RPCH::NTLM->new, [ headers => ['Via: 1.1 proxy.example.com'] ]);
    is(get($http, 'here', @$via)->{status}, 403, 'Via, and nothing else to offer: 403');
    my $answer = $ntlm->knock($http, '/in/here', @$via);
    is("$answer->{status} " . offered($answer), '403 ', 'NEGOTIATE by way of a proxy');
    is($ntlm->login($http, '/in/here')->{status}, 200, 'a direct login');
    is(get($http, 'here', @$via)->{status}, 403, 'is not for the proxy\'s requests');
    $ntlm->knock($http, '/in/here');
    is(ask($http, '/in/here', $ntlm->authenticate, @$via)->{status}, 403, 'nor is AUTHENTICATE taken from it');
    like($httpd->log, qr/a proxy \(Via\) may share the connection among users/, 'the log says why');
    my $secure = dial_tls();
    is(offered(get($secure, 'any', @$via)), 'Basic realm="here"', 'with Basic: it alone is offered');
    is(get($secure, 'any', @$via, user => 'alice', password => 'secret')->{status}, 200, 'and taken');
    $_->close for $http, $secure;
}

# ---- the users file ----
{
    is(try_in('here', user => 'bob', password => 'hidden'), 200, 'bob is let in');
    put($users, grep { !/^bob/ } accounts());
    is(try_in('here', user => 'bob', password => 'hidden'), 401,
        'without bob in the file he is not, without a restart');
    put($users, accounts(), smbpasswd_line(dora => 'new'), "no line\n", "# a comment\n");
    is(try_in('here', user => 'dora', password => 'new'), 200, 'who is new in it is let in');
    is(try_in('here', user => 'bob', password => 'hidden'), 200, 'and who is back');
    like($httpd->log, qr/AuthNtlmUserFile \S+: 1 lines are not .*, the first is line 9/,
        'a line that is none is told, and left out');
    unlink $users;
    is(try_in('here'), 200, 'the last one holds while the file is away');
    like($httpd->log, qr/AuthNtlmUserFile \S+ cannot be read/, 'and the log says so');
    put($users, accounts());
    is(try_in('here'), 200, 'it comes back');
    is(try_in('unset'), 500, 'no AuthNtlmUserFile: 500');
    like($httpd->log, qr/the provider "file" has no users here: set AuthNtlmUserFile/,
        'and the log says what is missing');
}

# ---- Negotiate ----
{
    my $send = sub { my ($http, $token) = @_; return ask($http, '/in/negotiate', $token, scheme => 'Negotiate') };
    # The first leg or, where NTLM is not the preferred mechanism, the first two, until the challenge
    my $begin = sub {
        my ($http, $ntlm, $mechs, %opt) = @_;
        my $favourite = $mechs->[0] eq 'ntlm';
        my $token = $favourite ? $ntlm->negotiate : 'a ticket';
        my $answer = $send->($http, neg_init(mechs => $mechs, token => $token, bare => $opt{bare}));
        my $resp = read_resp($answer->{token});
        is("$answer->{status} $resp->{mech}", '401 ntlm', "@$mechs: NTLM it is");
        is($resp->{state}, $favourite ? 'accept-incomplete' : 'request-mic', $favourite ? 'to go on' : 'with a MIC');
        $resp = read_resp($send->($http, neg_resp(token => $ntlm->negotiate))->{token}) if !$favourite;
        $ntlm->challenge($resp->{token});
        return;
    };
    # The status at the end of the handshake, and the connection
    my $wrapped = sub {
        my ($mechs, %opt) = @_;
        my ($http, $ntlm) = (dial(), RPCH::NTLM->new(%{ $opt{ntlm} || {} }));
        $begin->($http, $ntlm, $mechs, %opt);
        my ($token, $list) = ($ntlm->authenticate, mech_list(@$mechs));
        my $mic = exists $opt{mic} ? $opt{mic} : $ntlm->signature(client => $opt{list} // $list);
        my $answer = $send->($http, neg_resp(token => $token, mic => $mic));
        return ($answer->{status}, $http) if !defined $answer->{token};
        my $resp = read_resp($answer->{token});
        is($resp->{state}, 'accept-completed', 'the end of it');
        is(unpack('H*', $resp->{mic} // ''), defined $mic ? unpack('H*', $ntlm->signature(server => $list)) : '',
           'the server\'s mechListMIC, for a client that has sent one');
        return ($answer->{status}, $http);
    };
    my ($status, $http) = $wrapped->(['ntlm'], mic => undef);
    is($status, 200, 'SPNEGO around NTLM: 200');
    is(get($http, 'negotiate')->{status}, 200, 'the connection is known');
    is(get($http, 'here')->{status}, 200, 'under the other name as well');
    $http->close;
    for (['with a mechListMIC', ['ntlm'], 200], ['with a wrong one', ['ntlm'], mic => 'x' x 16, 401],
         ['with a short one', ['ntlm'], mic => 'x', 401],
         ['without the frame of GSSAPI', ['ntlm'], bare => 1, 200],
         ['Kerberos behind it', ['ntlm', 'krb5'], mic => undef, 200],
         ['Kerberos before it', [qw(krb5 ms_krb5 ntlm)], 200],
         ['Kerberos before it, no MIC', [qw(krb5 ntlm)], mic => undef, 401],
         ['Kerberos before it, a wrong MIC', [qw(krb5 ntlm)], mic => "\1\0\0\0" . 'x' x 12, 401],
         ['Kerberos before it, another list signed', [qw(krb5 ntlm)], list => mech_list('ntlm'), 401],
         ['Kerberos before it, and key exchange', [qw(krb5 ntlm)], ntlm => { key_exch => 1 }, 200],
         ['a wrong password', ['ntlm'], ntlm => { password => 'wrong' }, 401],
         ['a wrong password, Kerberos before', [qw(krb5 ntlm)], ntlm => { password => 'wrong' }, 401]) {
        my ($name, $mechs, @opt) = @$_;
        my $want = pop @opt;
        ($status, $http) = $wrapped->($mechs, @opt);
        is($status, $want, "SPNEGO $name: $want");
        is(get($http, 'negotiate')->{status}, $want, 'and so is the next request');
        $http->close;
    }
    $http = dial();
    my $raw = RPCH::NTLM->new;
    is($raw->login($http, '/in/negotiate', scheme => 'Negotiate')->{status}, 200,
        'raw NTLMSSP under the name Negotiate');
    is($raw->login($http, '/in/here', scheme => 'NTLM')->{status}, 200, 'and then under its own');
    my $init = neg_init(mechs => ['ntlm'], token => $raw->negotiate);
    for (['Kerberos alone', neg_init(mechs => ['krb5'], token => 'a ticket')],
         ['no mechanism', neg_init(mechs => [], token => 'x')],
         ['an answer to nothing', neg_resp(token => 'x')], ['an answer without a token', neg_resp(state => 1)],
         ['AUTHENTICATE to nothing', neg_resp(token => $raw->{authenticate})], ['no DER', 'x' x 50],
         ['another application', "\x60\x03\x06\x01\x2a"]) {
        my $answer = $send->($http, $_->[1]);
        is("$answer->{status} " . offered($answer), '401 Negotiate, NTLM', "Negotiate: $_->[0]");
    }
    # Tickets of users in many groups are long. NTLM is offered as the next mechanism, if there is one.
    for my $size (11_000, 13_000, 20_000) {
        my $ticket = neg_init(mechs => ['krb5'], token => 'x' x $size);
        my $answer = $send->($http, $ticket);
        is("$answer->{status} " . offered($answer), '401 Negotiate, NTLM', "a ticket of $size bytes");
        my $resp = read_resp($send->($http, neg_init(mechs => [qw(krb5 ntlm)], token => 'x' x $size))->{token});
        is("$resp->{mech} $resp->{state}", 'ntlm request-mic', 'NTLM is next, where the client has it');
        my $ntlm = RPCH::NTLM->new;
        $ntlm->challenge(read_resp($send->($http, neg_resp(token => $ntlm->negotiate))->{token})->{token});
        my $token = $ntlm->authenticate;
        is($send->($http, neg_resp(token => $token, mic => $ntlm->signature(client => mech_list(qw(krb5 ntlm)))))->{status}, 200, 'and logs on');
    }
    like($httpd->log, qr/Negotiate refused: the client does not offer NTLM; for Kerberos use mod_auth_gssapi/, 'the log says who takes tickets');
    is($send->($http, RPCH::NTLM->new->negotiate . 'x' x 13_000)->{status}, 401, 'NTLM of that size is none');
    like($httpd->log, qr/NTLM refused: a NEGOTIATE message of that size/, 'and the log says so');
    is(ask($http, '/in/here', 'x' x 13_000)->{status}, 401, 'nor under its own name');
    like($httpd->log, qr/NTLM refused: the token is longer than 12288 bytes/, 'and the log says so');
    my @taken = grep { defined $send->($http, substr $init, 0, $_)->{token} } 1 .. length $init;
    is("@taken", length $init, 'NegTokenInit cut off anywhere');
    $http->close;
}

# ---- guessing ----
{
    my $asked = sub { scalar(() = $httpd->log =~ /NTLM user "$_[0]": wrong password/g) };
    my $before = $asked->('alice');
    is(join(' ', map { try_in('guess', password => 'wrong') } 1 .. 3), '401 401 401',
        'AuthNtlmFailures: three wrong passwords');
    is(try_in('guess'), 401, 'then the right one is refused');
    is(try_in('guess', domain => 'DOM', user => 'ALICE'), 401, 'under any spelling');
    is($asked->('alice') - $before, 3, 'and the provider is not asked');
    is(try_in('here'), 200, 'where there is no limit it is right');
    like($httpd->log, qr/AuthNtlmFailures: failed try from 127\.0\.0\.1, user "alice"/,
        'a line for each failure');
}

# ---- Basic: forms of a name, and character sets ----
{
    my $basic_in = sub {
        my ($path, $user, $password, $how) = @_;
        my $http = dial_tls();
        my $text = encode_base64(encode($how // 'UTF-8', "$user:$password"), '');
        my $answer = get($http, $path, headers => ["Authorization: Basic $text"]);
        $http->close;
        return $answer->{status};
    };
    is($basic_in->('any', @$_[0, 1]), $_->[2], "Basic: $_->[0]")
        for ['alice', 'secret', 200], ['DOM\\alice', 'secret', 200], ['alice@contoso.test', 'secret', 200], ['DOM\\alice', 'wrong', 401],
            ['DOM\\mallory', 'secret', 401], ['alice@a@b', 'secret', 401], ['@contoso.test', 'secret', 401], ['DOM\\', 'secret', 401],
            ['who@there.test', 'own', 200], ['who', 'secret', 200], ['who@there.test', 'secret', 401], ['who@elsewhere.test', 'secret', 200];
    noted(qr{^alice "GET /in/any HTTP/1\.1" 200}m, 'REMOTE_USER is the name that the provider has');
    noted(qr{^who\@there\.test "GET /in/any HTTP/1\.1" 200}m, 'with the domain where that is part of it');
    is($basic_in->('charset', @$_[0 .. 2]), $_->[3], "AuthNtlmBasicCharset windows-1252: $_->[2] of $_->[0]")
        for ['Zoë', 'naïve', 'UTF-8', 200], ['Zoë', 'naïve', 'cp1252', 200], ['DOM\\Zoë', 'naïve', 'cp1252', 200], ['Zoë', 'naive', 'cp1252', 401],
            ['alice', 'secret', 'cp1252', 200], ['euro', '5 €', 'UTF-8', 200], ['euro', '5 €', 'cp1252', 200], ['euro', '5 €', 'UTF-16LE', 401];
    is($basic_in->('any', 'Zoë', 'naïve', 'UTF-8'), 200, 'without it bytes are taken as they come: UTF-8');
    is($basic_in->('any', 'Zoë', 'naïve', 'cp1252'), 401, 'and nothing else');
    my $http = dial_tls();
    is(get($http, 'charset', headers => ['Authorization: Basic ' . encode_base64("alice:\x81", '')])->{status}, 401, 'neither of the two');
    like($httpd->log, qr/:info\].* Basic refused: its text is neither UTF-8 nor windows-1252/, 'the log says so');
    $http->close;
}

# ---- channels ----
{
    my $server = server(echo => 1);
    my $path = '/rpc/rpcproxy.dll';
    my $uri = "$path?" . $server->target;
    my $answer = sub { return 'Authorization: NTLM ' . encode_base64($_[0]->authenticate, '') };
    my $client = sub { return plain(port => $httpd->{port}, target => $server->target, user => undef) };
    my $works = sub {
        my ($c, $name) = @_;
        my $opened = eval { $c->opened; 1 } or diag $@;
        ok($opened, "$name: a virtual connection");
        return $c->close if !$opened;
        same_pdu($c->call(bind_pdu()), bind_pdu(), "$name: which works");
        $c->close;
    };
    my @ways = (
        ['the echo is authenticated, the channel has no Authorization', sub {
            my ($method, $http, $ntlm) = @_;
            is($ntlm->login($http, $uri, method => $method, length => 0)->{status}, 200,
                "$method: an echo is answered");
            return ();
        }],
        ['NEGOTIATE on the bare path, AUTHENTICATE with the channel', sub {
            my ($method, $http, $ntlm) = @_;
            $ntlm->knock($http, $path, method => $method, length => 0, headers => ['Expect: 100-continue']);
            return (headers => ['Expect: 100-continue', $answer->($ntlm)]);
        }],
        ['NEGOTIATE with the target, AUTHENTICATE with the channel', sub {
            my ($method, $http, $ntlm) = @_;
            is($ntlm->knock($http, $uri, method => $method, length => 0)->{status}, 401, "$method: 401");
            return (headers => [$answer->($ntlm)]);
        }],
    );
    for (@ways) {
        my ($name, $way) = @$_;
        my $c = $client->();
        for my $half (qw(in out)) {
            my $http = dial();
            my @opt = $way->('RPC_' . uc($half) . '_DATA', $http, RPCH::NTLM->new);
            $half eq 'in' ? $c->open_in(connection => $http, @opt) : $c->open_out(connection => $http, @opt);
        }
        $works->($c->send_a1->send_b1, $name);
    }

    # A channel without a login, or of another user, does not open the connection
    my $c = $client->();
    $c->open_out;
    $c->send_a1;
    is_answer($c->out->head, 401, 'a channel without any login');
    $c->close;
    my ($http, $ntlm) = (dial(), RPCH::NTLM->new(password => 'wrong'));
    $ntlm->knock($http, $uri, method => 'RPC_IN_DATA', length => 0);
    $c = $client->();
    $c->open_out(connection => $http, headers => [$answer->($ntlm)]);
    $c->send_a1;
    is_answer($c->out->head, 401, 'AUTHENTICATE of a wrong password with a channel');
    $c->close;
    is($server->connections, 2 * @ways, 'the server has seen the three that were let in');
    $server->close;
    noted(qr{^alice "RPC_IN_DATA /rpc/rpcproxy\.dll\?\S+ HTTP/1\.1" \d+}m, 'the access log has the user');
}

# ---- configtest ----
{
    my $h = RPCH::Httpd->new;
    put("$h->{dir}/users", smbpasswd_line(alice => 'secret'));
    my $said = sub { my ($conf) = @_; $h->configure($conf); return $h->configtest };
    for (['AuthNtlmProvider ldap',
          qr/AuthNtlmProvider: "ldap": expected file, winbind, or a provider of another module/],
         ['AuthNtlmBasicProvider ldap',
          qr/"ldap" does not check passwords: expected a provider as for AuthBasicProvider; is its module .mod_authn_ldap/],
         ['AuthNtlmUserFile nowhere',
          qr/AuthNtlmUserFile \S+nowhere: cannot be read \(.*\): write it with pdbedit -Lw or smbpasswd/],
         ['AuthNtlmTargets HTTP/', qr{AuthNtlmTargets: "HTTP/": expected any, a host such as mail.example.com, or}],
         ['AuthNtlmTargets HTTP/*.test', qr{AuthNtlmTargets: "HTTP/\*\.test": expected any, a host}],
         ['AuthNtlmPinnedConnections maybe', qr/AuthNtlmPinnedConnections must be On or Off/],
         ['AuthNtlmBasicCharset windows-1', qr/AuthNtlmBasicCharset: "windows-1" is not a character set of this system: see iconv -l/],
         ['AuthNtlmUserFile .', qr/AuthNtlmUserFile \S+: is not a file/],
         ['AuthNtlmExtendedProtection maybe',
          qr/AuthNtlmExtendedProtection: "maybe": expected off, allow or require/],
         ['AuthNtlmTargetInfo CONTOSO',
          qr/TargetInfo: "CONTOSO": expected domain=, computer=, dnsdomain=, dnscomputer= or dnstree= with a name/],
         ['AuthNtlmTargetInfo realm=x', qr/AuthNtlmTargetInfo: "realm=x": expected domain=/],
         ['AuthNtlmTargetInfo domain=', qr/"domain=": expected a name of 1 to 15 characters/],
         ['AuthNtlmTargetInfo computer=ABCDEFGHIJKLMNOP', qr/expected a name of 1 to 15 characters/],
         ['AuthNtlmTargetInfo dnsdomain=' . 'x' x 256, qr/expected a name of 1 to 255 characters/],
         ['AuthNtlmNegotiate maybe', qr/AuthNtlmNegotiate must be On or Off/],
         ['AuthNtlmOmitDomain maybe', qr/AuthNtlmOmitDomain must be On or Off/],
         ['AuthNtlmFailures 10', qr/"10": expected the time within which failures count after their number, as in 10 10min/],
         (map { ["AuthNtlmFailures $_", qr/AuthNtlmFailures: "[^"]+": expected a number of failures from 1 to 1000000, or off/] }
              '0 600', '-1 600', 'off 600', 'never'),
         (map { ["AuthNtlmFailures 10 $_", qr/AuthNtlmFailures: "$_": expected a time from 1 to 1000000 seconds, as in 600, 10min or 1h/] }
              0, '6x', 2000000, '500ms', '-1', '300h')) {
        my ($conf, $says) = @$_;
        my ($status, $out) = $said->("<Location /x>\n$conf\n</Location>\n");
        isnt($status, 0, 'refused: ' . substr $conf, 0, 60);
        like($out, $says, 'and says why');
    }
    for ('AuthNtlmUserFile users', 'AuthNtlmTargets any', 'AuthNtlmTargets HTTP/mail.example.com mail', 'AuthNtlmBasicCharset windows-1252',
         'AuthNtlmPinnedConnections Off', 'AuthNtlmTargetInfo DOMAIN=X Computer=Y',
         'AuthNtlmExtendedProtection Require', 'AuthNtlmProvider file', 'AuthNtlmFailures off',
         'AuthNtlmTargetInfo domain=ABCDEFGHIJKLMNO', 'AuthNtlmFailures 1000000 1', 'AuthNtlmFailures 10 10min', 'AuthNtlmFailures 10 1h') {
        my ($status, $out) = $said->("<Location /x>\n$_\n</Location>\n");
        is($status, 0, "taken: $_") or diag $out;
    }
    like(($said->('AuthNtlmPinnedConnections On'))[1], qr/AuthNtlmPinnedConnections On \(\S+ line \d+\): where a front end/,
        'what AuthNtlmPinnedConnections means is told');
    chmod 0644, "$h->{dir}/users";
    like(($said->('AuthNtlmUserFile users'))[1],
        qr/every user can read AuthNtlmUserFile \S+users, and its hashes are .*: chmod o-rwx/,
        'a file for everybody: a warning');
    chmod 0640, "$h->{dir}/users";
    unlike(($said->('AuthNtlmUserFile users'))[1], qr/everybody/, 'none for one that is not');
}

my @bad = grep { /exit signal|:(?:error|crit|alert|emerg)\]/ && !/cannot be read|has no users here|authz_core:/ }
          $httpd->log =~ /^.*\n/mg;
is(join('', @bad), '', 'no child has died, and nothing else is an error');
done_testing;
