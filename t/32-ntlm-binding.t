# AuthNtlmExtendedProtection: a login is bound to the certificate that the client has seen, whatever
# its signature, with several certificates in a host, several hosts behind a port, in resumed
# sessions, and after a change of certificates. Bindings are made here from the certificate in
# the handshake and from the hash that RFC 5929 section 4.1 wants.

use strict;
use warnings;
use Digest::SHA ();
use IO::Socket::SSL;
use MIME::Base64 ();
use Net::SSLeay;
use Test::More;
use RPCH::File qw(slurp put);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::NTLM qw(smbpasswd_line end_point_binding peer_der);
use RPCH::Poll qw(wait_for);
use RPCH::Root;
use RPCH::Test;

use constant { SET_SIGALGS_LIST => 98, NONE => "\0" x 16 };

my $httpd = RPCH::Httpd->new;
my $dir = $httpd->{dir};

sub openssl {
    my ($command) = @_;
    my $said = qx(openssl $command 2>&1);
    die "openssl $command: $said\n" if $?;
    return;
}

# A self-signed certificate for localhost or another name. KIND is what openssl calls the key and the
# signature.
sub certificate {
    my ($name, $kind, $host) = @_;
    $host //= 'localhost';
    openssl("req -x509 -nodes -days 2 -config $dir/openssl.cnf -subj /CN=$host -newkey $kind "
            . "-keyout $dir/$name.key -out $dir/$name.crt");
    return $name;
}

sub der_of {
    my ($name) = @_;
    my $bio = Net::SSLeay::BIO_new_file("$dir/$name.crt", 'r');
    my $pem = Net::SSLeay::PEM_get_string_X509(Net::SSLeay::PEM_read_bio_X509($bio));
    Net::SSLeay::BIO_free($bio);
    return MIME::Base64::decode_base64($pem =~ s/-----[^-]+-----//gr);
}

# ---- certificates and hosts ----

# The name, the key and signature, and the hash that the binding uses.
my @kinds = (
    ['rsa-sha256', 'rsa:2048 -sha256', 256], ['rsa-sha384', 'rsa:2048 -sha384', 384],
    ['rsa-sha512', 'rsa:2048 -sha512', 512], ['rsa-sha1', 'rsa:2048 -sha1', 256],
    ['rsa-md5', 'rsa:2048 -md5', 256],
    ['pss-sha384', 'rsa:2048 -sha384 -sigopt rsa_padding_mode:pss', 384],
    ['ecdsa-sha256', 'ec -pkeyopt ec_paramgen_curve:P-256 -sha256', 256],
    ['ecdsa-sha384', 'ec -pkeyopt ec_paramgen_curve:P-384 -sha384', 384],
    ['ecdsa-sha1', 'ec -pkeyopt ec_paramgen_curve:P-256 -sha1', 256], ['ed25519', 'ed25519', 256],
);
put("$dir/openssl.cnf", "[req]\ndistinguished_name=name\n[name]\n");
put("$dir/in.txt", "in\n");
put("$dir/users", smbpasswd_line(alice => 'secret'));
chmod 0644, "$dir/users";

certificate($_->[0], $_->[1]) for @kinds;
certificate('both-rsa', 'rsa:2048 -sha256');
certificate('both-ecdsa', 'ec -pkeyopt ec_paramgen_curve:P-256 -sha384');
certificate("host-$_", $_ eq 'one' ? 'rsa:2048 -sha256' : 'ec -pkeyopt ec_paramgen_curve:P-256 -sha256',
    "$_.test") for qw(one two);
certificate('old', 'rsa:2048 -sha256');
certificate('new', 'rsa:2048 -sha384');
certificate('signer', 'rsa:2048 -sha256', 'signer');
openssl("req -new -nodes -config $dir/openssl.cnf -subj /CN=localhost -newkey rsa:2048 "
        . "-keyout $dir/signed.key -out $dir/signed.csr");
openssl("x509 -req -in $dir/signed.csr -CA $dir/signer.crt -CAkey $dir/signer.key -CAcreateserial -days 2 -sha384 "
        . "-out $dir/leaf.crt");
put("$dir/signed.crt", map { slurp("$dir/$_.crt") } qw(leaf signer));

my @hosts = ((map { [$_->[0], [$_->[0]]] } @kinds), ['both', [qw(both-rsa both-ecdsa)]],
    ['signed', ['signed']], ['changing', ['changing']]);
my $first_port = RPCH::Root::free_ports(@hosts + 1);
my %port = map { $hosts[$_][0] => $first_port + $_ } 0 .. $#hosts;
$port{names} = $first_port + @hosts;

sub host {
    my ($port, $name, @certificates) = @_;
    return "<VirtualHost 127.0.0.1:$port>\nServerName $name\nSSLEngine on\n"
           . join('', map { "SSLCertificateFile $dir/$_.crt\nSSLCertificateKeyFile $dir/$_.key\n" } @certificates)
           . "</VirtualHost>\n";
}

# Makes the certificate of host "changing" a link to this one.
sub change {
    my ($name) = @_;
    for my $ending (qw(crt key)) {
        unlink "$dir/changing.$ending";
        symlink "$dir/$name.$ending", "$dir/changing.$ending" or die "changing: $!\n";
    }
    return;
}
change('old');

$httpd->configure(<<"CONF" . join('', map { "Listen 127.0.0.1:$_\n" } sort values %port)
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 100
LogLevel auth_ntlm:debug
SSLRandomSeed startup builtin
SSLSessionCache "shmcb:$dir/ssl(512000)"
SSLCipherSuite ALL:\@SECLEVEL=0
AliasMatch ^/ $dir/in.txt
<Directory $dir>
    Require all granted
</Directory>
<Location />
    AuthType NTLM
    AuthName here
    AuthNtlmUserFile $dir/users
    Require valid-user
</Location>
<Location /off>
    AuthNtlmExtendedProtection off
</Location>
<Location /allow>
    AuthNtlmExtendedProtection allow
</Location>
<Location /require>
    AuthNtlmExtendedProtection require
</Location>
CONF
    . join('', map { host($port{ $_->[0] }, 'localhost', @{ $_->[1] }) } @hosts)
    . host($port{names}, 'one.test', 'host-one') . host($port{names}, 'two.test', 'host-two'));
$httpd->start;

# ---- clients ----

# Options of IO::Socket::SSL; sigalgs.
sub tls {
    my (%opt) = @_;
    my $sigalgs = delete $opt{sigalgs};
    my $set = sub { Net::SSLeay::CTX_ctrl($_[0], SET_SIGALGS_LIST, 0, $sigalgs) or die "sigalgs $sigalgs\n" };
    $opt{SSL_create_ctx_callback} = $set if $sigalgs;
    return (SSL_verify_mode => SSL_VERIFY_NONE, SSL_cipher_list => 'ALL:@SECLEVEL=0',
        SSL_hostname => 'localhost', %opt);
}

# The options of connections that resume one session.
sub one_session {
    my (%opt) = tls(@_, SSL_session_cache_size => 10);
    return (SSL_reuse_ctx => IO::Socket::SSL::SSL_Context->new(%opt), SSL_session_key => 'session',
        SSL_hostname => $opt{SSL_hostname});
}

sub dial {
    my ($host, @opt) = @_;
    return RPCH::HTTP->dial(port => $port{$host}, name => "connection to $host", tls => { tls(@opt) });
}

# The status of a login with this binding. With undef there is no binding.
sub login {
    my ($http, $path, $binding, %arg) = @_;
    return RPCH::NTLM->new(binding => $binding, %arg)->login($http, $path)->{status};
}

sub closed { my ($http, $result) = @_; $http->close; return $result }

# ---- kinds of protection ----
{
    my $http = dial('rsa-sha256');
    my $right = end_point_binding(peer_der($http));
    my %binding = ('the right one' => $right, 'none' => undef, 'zero bytes' => NONE, 'a wrong one' => 'x' x 16,
                   'one with a bit changed' => $right ^ ("\0" x 15 . "\1"),
                   'the hash alone' => substr(Digest::SHA::sha256(peer_der($http)), 0, 16),
                   'another certificate\'s' => end_point_binding(der_of('rsa-sha384'), 384));
    my @allowed = ('the right one', 'none', 'zero bytes');
    my %in = (off => [keys %binding], allow => \@allowed, require => ['the right one'], default => \@allowed);
    for my $path (qw(off allow require default)) {
        for my $name (sort keys %binding) {
            my $want = (grep { $_ eq $name } @{ $in{$path} }) ? 200 : 401;
            is(login($http, "/$path", $binding{$name}), $want, "$path: $name: $want");
        }
    }
    # Without a MIC a binding cannot be changed either, because the response covers it
    is(login($http, '/require', $right, mic => 0), 200, 'require: bound, without a MIC');
    is(login($http, '/require', $right, password => 'wrong'), 401, 'require: bound, with a wrong password');
    is(login($http, '/allow', undef), 200, 'a login without a binding');
    is(RPCH::NTLM::ask($http, '/require', undef)->{status}, 401, 'is not one where it is required');
    is(login($http, '/require', $right), 200, 'one with it');
    is(RPCH::NTLM::ask($http, '/require', undef)->{status}, 200, 'holds on the connection');
    my $wrong = sub {
        my $answer = RPCH::NTLM->new(@_)->login($http, '/require');
        delete $answer->{headers}{date};
        return $answer;
    };
    is_deeply($wrong->(binding => 'x' x 16), $wrong->(binding => $right, password => 'wrong'),
        'a wrong binding gets the answer that a wrong password gets');
    $http->close;
    like($httpd->log, qr/NTLM refused: the response is bound to another certificate: it was relayed, or TLS ends before/,
         'the log knows why: another certificate');
    like($httpd->log, qr/NTLM refused: the client sent no channel binding, which AuthNtlmExtendedProtection requires/, 'or none');

    my $plain = RPCH::HTTP->dial(port => $httpd->{port}, name => 'plain connection');
    is(login($plain, "/$_->[0]", $_->[1]), $_->[2], "plain HTTP, $_->[3]: $_->[0]: $_->[2]")
        for ['off', undef, 200, 'none'], ['allow', undef, 200, 'none'], ['allow', NONE, 200, 'zero bytes'],
            ['allow', $right, 401, 'a binding'], ['off', $right, 200, 'a binding'],
            ['require', undef, 401, 'none'], ['require', NONE, 401, 'zero bytes'],
            ['require', $right, 401, 'a binding'];
    $plain->close;
}

# ---- signatures ----
for (@kinds) {
    my ($name, undef, $hash) = @$_;
    for my $version (qw(TLSv1_2 TLSv1_3)) {
        my $http = dial($name, SSL_version => $version);
        is(peer_der($http), der_of($name), "$name, $version: its certificate");
        for my $other (256, 384, 512) {
            my $want = $other == $hash ? 200 : 401;
            is(login($http, '/require', end_point_binding(peer_der($http), $other)), $want,
                "SHA-$other: $want");
        }
        $http->close;
    }
}

# ---- a chain ----
{
    my $http = dial('signed');
    is(login($http, '/require', end_point_binding(der_of('leaf'), 384)), 200, 'a chain: its first certificate');
    is(login($http, '/require', end_point_binding(der_of('signer'), 256)), 401, 'not its authority\'s');
    is(login($http, '/require', end_point_binding(der_of('leaf'), 256)), 401, 'nor by the authority\'s hash');
    $http->close;
}

# ---- two certificates in a host: the client's algorithms decide which one is used ----

my %both = (rsa => end_point_binding(der_of('both-rsa'), 256),
    ecdsa => end_point_binding(der_of('both-ecdsa'), 384));
my %choose = (
    TLSv1_2 => { rsa => [SSL_cipher_list => 'ECDHE-RSA-AES128-GCM-SHA256'],
        ecdsa => [SSL_cipher_list => 'ECDHE-ECDSA-AES128-GCM-SHA256'] },
    TLSv1_3 => { rsa => [sigalgs => 'RSA-PSS+SHA256:RSA+SHA256'],
        ecdsa => [sigalgs => 'ECDSA+SHA256:ECDSA+SHA384'] },
);
for my $version (sort keys %choose) {
    for my $kind (qw(rsa ecdsa)) {
        my $other = $kind eq 'rsa' ? 'ecdsa' : 'rsa';
        my @opt = (SSL_version => $version, @{ $choose{$version}{$kind} });
        my $http = dial('both', @opt);
        is(peer_der($http), der_of("both-$kind"), "$version, two certificates: the client has seen $kind");
        is(login($http, '/require', $both{$kind}), 200, 'its binding is right');
        is(login($http, '/require', $both{$other}), 401, 'the other one\'s is wrong');
        $http->close;

        resumed($version, $kind, @opt);
    }
}

# The session is resumed in another connection, in which no certificate is sent.
sub resumed {
    my ($version, $kind, @opt) = @_;
    my @again = one_session(@opt);
    my $http = dial('both', @again);
    is(login($http, '/require', $both{$kind}), 200, "$version, $kind: a session begins");
    $http->close;
    for my $round (1, 2) {
        $http = dial('both', @again);
        ok($http->{fh}->get_session_reused, "$round: it is resumed");
        is(login($http, '/require', $both{$kind}), 200, 'and the binding still right');
        is(login($http, '/require', $_), 401, 'a wrong one still wrong') for 'x' x 16,
            end_point_binding(der_of('rsa-sha256')), end_point_binding(der_of("both-$kind"), 512);
        is(login($http, '/require', undef), 401, 'and none not enough');
        $http->close;
    }
    return;
}

# The same with one certificate
for my $version (qw(TLSv1_2 TLSv1_3)) {
    my @opt = one_session(SSL_version => $version);
    for my $round (0, 1) {
        my $http = dial('ecdsa-sha384', @opt);
        is($http->{fh}->get_session_reused ? 1 : 0, $round,
            "$version, one certificate: " . ($round ? 'resumed' : 'a session begins'));
        is(login($http, '/require', end_point_binding(der_of('ecdsa-sha384'), 384)), 200, 'right');
        is(login($http, '/require', end_point_binding(der_of('ecdsa-sha256'), 256)), 401,
            'another host\'s is wrong');
        $http->close;
    }
}

# ---- two hosts behind one port ----
my %named = map { $_ => end_point_binding(der_of("host-$_"), 256) } qw(one two);
for my $version (qw(TLSv1_2 TLSv1_3)) {
    for my $name (qw(one two)) {
        my $other = $name eq 'one' ? 'two' : 'one';
        my @opt = one_session(SSL_version => $version, SSL_hostname => "$name.test");
        for my $round (0, 1) {
            my $http = dial('names', @opt);
            my $in = sub {
                my ($binding, $host) = @_;
                return RPCH::NTLM->new(binding => $binding)->login($http, '/require',
                    host => "$host.test")->{status};
            };
            is($http->{fh}->get_session_reused ? 1 : 0, $round,
                "$version, SNI $name.test" . ($round ? ', resumed' : ''));
            is($in->($named{$name}, $name), 200, 'the binding of that host');
            is($in->($named{$other}, $name), 401, 'not of the other');
            like($in->($named{$other}, $other), qr/^4(?:01|21)$/, 'nor by asking for the other in Host');
            $http->close;
        }
    }
    my $http = dial('names', SSL_version => $version, SSL_hostname => '');
    is(RPCH::NTLM->new(binding => $named{one})->login($http, '/require', host => 'one.test')->{status}, 200,
        "$version, no SNI: the first host's certificate");
    is(RPCH::NTLM->new(binding => $named{two})->login($http, '/require', host => 'one.test')->{status}, 401,
        'and no other');
    $http->close;
}

# ---- a new certificate ----
{
    my $status = sub { my $http = dial('changing'); return closed($http, login($http, '/require', $_[0])) };
    my ($old, $new) = (end_point_binding(der_of('old'), 256), end_point_binding(der_of('new'), 384));
    is(join(' ', map { $status->($_) } $old, $new), '200 401', 'the old certificate');
    change('new');
    $httpd->signal('USR1');
    ok($httpd->logs(qr/(?:resuming normal operations.*){2}/s), 'a graceful restart');
    wait_for('the new certificate', sub { my $http = dial('changing'); closed($http,
        peer_der($http) eq der_of('new')) });
    is(join(' ', map { $status->($_) } $old, $new), '401 200', 'the new certificate');
    is($status->($both{rsa}), 401, 'and no other');
}

# mod_ssl logs AH02032 when Host is not the name in SNI.
my @bad = grep { /exit signal|:(?:error|crit|alert|emerg)\]/ && !/AH02032/ } $httpd->log =~ /^.*\n/mg;
is(join('', @bad), '', 'no child has died, and nothing is an error');
done_testing;
