# The tables "When it fails" of the chapters on Basic, NTLM, Kerberos and certificates: each fault that can be made
# here is made, and httpd's log, or the client, says what the row has.

use strict;
use warnings;
use Test::More;
use RPCH::CA;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::KDC;
use RPCH::Manual qw(rows);
use RPCH::Needs qw(missing modules);
use RPCH::NTLM;
use RPCH::Test;

my $root = vars('serverroot');
my $conf = "$root/conf";
my $modules = modules();
my $tls = RPCH::Httpd->tls_lines;

# curl's answer: the status of an echo at PATH, or its error.
sub curl {
    my ($httpd, $path, $options) = @_;
    return scalar qx(LD_PRELOAD= curl -sS -o /dev/null -w '%{http_code}\\n' --cacert $conf/server.crt $options -X RPC_IN_DATA -H 'Content-Length: 0' https://localhost:$httpd->{port}/$path/rpcproxy.dll 2>&1);
}

# The row of CHAPTER that has CAUSE: its first quotation, or id, has been said by HTTPD's log or in SAID.
sub row_says {
    my ($chapter, $cause, $httpd, $said) = @_;
    my ($row) = grep { "@$_" =~ $cause } rows(slurp(join '', 'doc/auth-', $chapter, '.md'), 'When it fails');
    return fail("$chapter: no row $cause") if !$row;
    my @quoted = map { /"([^"]+)"/g } @$row[0 .. 1];
    my ($said_it) = grep { my $words = $_; index($said // '', $words) >= 0 || $httpd->logs(qr/\Q$words\E/) } $quoted[-1] // ("@$row" =~ /(AH\d+)/)[0];
    return ok(defined $said_it, "$chapter: $row->[0]") || diag "@$row\n$said";
}

sub location { my ($name, $text) = @_; return "<Location /$name/rpcproxy.dll>\nSetHandler rpcproxy\nAuthName rpc\nRpcValidPorts exch1:6001\n$text\n</Location>\n" }

subtest 'Basic' => sub {
    my $users = "AuthType Basic\nAuthUserFile $conf/users";
    my $httpd = RPCH::Httpd->new(conf => join '', $tls, location(rpc => "$users\nRequire valid-user"), location(group => "$users\nRequire user bob"),
        location(nofile => "AuthType Basic\nAuthUserFile $root/nothing\nRequire valid-user"),
        location(few => "$users\nRequire valid-user\nAuthNtlmFailures 1 600"))->start;
    is(curl($httpd, 'rpc', '-u alice:secret'), "200\n", 'the chapter\'s command: 200');
    is(curl($httpd, 'rpc', '-u alice:wrong'), "401\n", 'a wrong password');
    row_says('basic', qr/password is wrong/, $httpd);
    is(curl($httpd, 'rpc', "-u 'OTHER\\alice:secret'"), "401\n", 'another form of the name');
    row_says('basic', qr/no such user/, $httpd);
    is(curl($httpd, 'nofile', '-u alice:secret'), "500\n", 'no file');
    row_says('basic', qr/file is missing/, $httpd);
    is(curl($httpd, 'rpc', "-H 'Authorization: NTLM AAAA'"), "401\n", 'another scheme');
    row_says('basic', qr/sends NTLM/, $httpd);
    is(curl($httpd, 'group', '-u alice:secret'), "401\n", 'Require');
    row_says('basic', qr/Require does not allow/, $httpd);
    curl($httpd, 'few', '-u alice:wrong') for 1 .. 2;
    row_says('basic', qr/AuthNtlmFailures is full/, $httpd);
};

subtest 'NTLM' => sub {
    put("$root/words.smbpasswd", RPCH::NTLM::smbpasswd_line(alice => 'secret'));
    my $users = "AuthType NTLM\nAuthNtlmUserFile $root/words.smbpasswd\nRequire valid-user";
    my $httpd = RPCH::Httpd->new(conf => join '', $tls, location(rpc => $users), location(require => "$users\nAuthNtlmExtendedProtection require"),
        location(few => "$users\nAuthNtlmFailures 1 600"))->start;
    my $with = sub { my ($path, $who, $more) = @_; return curl($httpd, $path, "--ntlm -u '$who' " . ($more // '')) };
    is($with->('rpc', 'EXAMPLE\\alice:secret'), "200\n", 'the chapter\'s command: 200');
    is($with->('require', 'alice:secret'), "401\n", 'curl sends no channel binding');
    is($with->('rpc', 'alice:wrong'), "401\n", 'a wrong password');
    row_says('ntlm', qr/another one/, $httpd);
    is($with->('rpc', 'carol:secret'), "401\n", 'an unknown user');
    row_says('ntlm', qr/no such user/, $httpd);
    is($with->('rpc', 'alice:secret', "-H 'Via: 1.1 front'"), "403\n", 'a front end, and nothing else on offer');
    row_says('ntlm', qr/HTTP\/2/, $httpd);
    is(curl($httpd, 'rpc', '-u alice:secret'), "401\n", 'Basic');
    row_says('ntlm', qr/client sends Basic/, $httpd);
    $with->('few', 'alice:wrong') for 1 .. 2;
    row_says('ntlm', qr/too many wrong passwords/, $httpd);
};

subtest 'Kerberos' => sub {
    my @missing = missing(RPCH::KDC::PACKAGES, 'libapache2-mod-auth-gssapi');
    plan(skip_all => "not installed: @missing") if @missing;
    my $kdc = RPCH::KDC->start(alice => 'Wonderland');
    my %keytab = (right => $kdc->service('HTTP/localhost'), other => $kdc->service('HTTP/other.contoso.test'), none => "$root/none");
    my $httpd = RPCH::Httpd->new(conf => join '', "LoadModule auth_gssapi_module $modules/mod_auth_gssapi.so\n", $tls, "LogLevel auth_gssapi:info\n",
        map { location($_ => "AuthType GSSAPI\nGssapiAllowedMech krb5\nGssapiCredStore keytab:$keytab{$_}\nGssapiSSLonly On\nRequire valid-user") } sort keys %keytab)->start;
    my $with = sub { return curl($httpd, $_[0], '--negotiate -u :') };
    $kdc->login(alice => 'Wonderland');
    is($with->('right'), "200\n", 'the chapter\'s command: 200');
    is($with->('none'), "401\n", 'no keytab');
    row_says('kerberos', qr/there is no keytab/, $httpd);
    is($with->('other'), "401\n", 'a keytab for another name');
    row_says('kerberos', qr/keytab is for another name/, $httpd);
    $kdc->admin('cpw -randkey HTTP/localhost');
    $kdc->login(alice => 'Wonderland');
    is($with->('right'), "401\n", 'a new key');
    row_says('kerberos', qr/new password/, $httpd);
    $kdc->logout;
    is($with->('right'), "401\n", 'no ticket');
    row_says('kerberos', qr/sent no ticket/, $httpd);
};

subtest 'certificates' => sub {
    my $ca = RPCH::CA->new('Staff');
    my $strangers = RPCH::CA->new('Strangers');
    my %who = (alice => $ca->person('alice'), dora => $ca->person('dora'), mallory => $strangers->person('mallory'));
    $ca->revoke('dora');
    my $site = sub {
        my ($list) = @_;
        return RPCH::Httpd->new(conf => $tls . "LogLevel ssl:info\nSSLVerifyClient require\nSSLVerifyDepth 2\nSSLCACertificateFile @{[ $ca->certificate ]}\n"
            . ($list ? "SSLCARevocationFile $list\n" : '') . "SSLCARevocationCheck chain\n"
            . location(rpcwithcert => "AuthType None\nSSLUserName SSL_CLIENT_S_DN_CN\n<RequireAll>\nRequire ssl-verify-client\nRequire user alice\n</RequireAll>"));
    };
    my $httpd = $site->($ca->revocations)->start;
    my $with = sub { my ($h, $name) = @_; return curl($h, 'rpcwithcert', $name ? "--cert $who{$name}{SSL_cert_file} --key $who{$name}{SSL_key_file}" : '') };
    is($with->($httpd, 'alice'), "200\n", 'the chapter\'s command: 200');
    row_says('certificates', qr/client has shown none/, $httpd, $with->($httpd));
    row_says('certificates', qr/another authority/, $httpd, $with->($httpd, 'mallory'));
    row_says('certificates', qr/it was taken back/, $httpd, $with->($httpd, 'dora'));
    $ca->openssl("ca -gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200102000000Z -out $root/old.crl");
    my $late = $site->("$root/old.crl")->start;
    my $said = $with->($late, 'alice');
    unlike($said, qr/^200/, 'with an old list nobody is let in');
    row_says('certificates', qr/list is out of date/, $late, $said);
    ok(!eval { $site->('')->start; 1 } && $@ =~ /AH01899/, 'without a list httpd does not start');
};
done_testing;
