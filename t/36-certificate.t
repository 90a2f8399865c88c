# Client certificates for /rpcwithcert, as conf/ configures them, in TLS 1.2 and 1.3; and why other
# configurations do not work.

use strict;
use warnings;
use IO::Socket::SSL;
use Test::More;
use RPCH::CA;
use RPCH::File qw(slurp);
use RPCH::Httpd;
use RPCH::RPC qw(bind_pdu);
use RPCH::Test;

use constant NAME => 'rpccert.example.com';     # the name of the virtual host in conf/

my $ca = RPCH::CA->new('Staff');
my %person = map { $_ => $ca->person($_) } qw(alice bob dora);
$ca->revoke('dora');
my $foreign = RPCH::CA->new('Strangers');
my $mallory = $foreign->person('alice');        # this certificate of another authority says so
my $server = server();
my $path = '/rpcwithcert/rpcproxy.dll';

# An httpd with the samples of conf/, adapted as their comments say: first the virtual host for
# passwords, then the one for certificates, on the same port.
sub httpd {
    my ($edit) = @_;
    my $conf = vars('serverroot') . '/conf';
    my ($base, $text) = map { slurp("conf/$_") } qw(rpcproxy.conf rpcproxy-certificate.conf);
    $base =~ s{^LoadModule .*\n}{}m;
    $base =~ s{/etc/apache2/rpc\.users}{$conf/users}g;
    $base =~ s{^ +RpcValidPorts .*}{    RpcValidPorts "127.0.0.1:1024-65535"}m;
    my %file = ('rpccert.crt' => "$conf/server.crt", 'rpccert.key' => "$conf/server.key", 'rpc-ca.crt' => $ca->certificate,
                'rpc-ca.crl' => $ca->revocations, 'rpc.certificates' => "$conf/certificates-$$");
    $text =~ s{/etc/apache2/([\w.-]+)}{$file{$1} // die "$1?"}ge;
    my $httpd = RPCH::Httpd->new(limits => '');
    $text =~ s{\*:443}{127.0.0.1:$httpd->{port}};
    $text = $edit->($text) if $edit;
    return $httpd->configure(<<"CONF")->start;
LogLevel ssl:info
$base
<VirtualHost 127.0.0.1:$httpd->{port}>
    ServerName localhost
    @{[ RPCH::Httpd->tls_lines ]}
</VirtualHost>
$text
CONF
}

# ---- clients ----

# Options of TLS: whose certificate, which version, and the name of the server.
sub tls {
    my ($person, $version, $name) = @_;
    return { SSL_ca_file => vars('serverroot') . '/conf/server.crt', SSL_hostname => $name // NAME,
             SSL_verifycn_name => 'localhost', SSL_version => $version, %{ $person || {} } };
}
sub person { my ($httpd, @tls) = @_; return client(port => $httpd->{port}, user => undef, path => $path, tls => tls(@tls)) }

sub opens {
    my ($httpd, @tls) = @_;
    my $c = person($httpd, @tls);
    $c->{target} = $server->target;
    eval { $c->open_in(host => NAME); $c->open_out(host => NAME); $c->send_a1->send_b1->opened } or return diag($@) && 0;
    my $vc = $server->vc;
    $c->send(bind_pdu());
    my $same = $vc->recv eq bind_pdu();
    $c->close;
    return $same;
}

# How a request ends: its status, or "closed" when TLS refuses it. In TLS 1.3 the client learns of a
# refusal only when it reads.
sub ends {
    my ($httpd, $tls, %opt) = @_;
    my $c = client(port => $httpd->{port}, tls => tls(@$tls));
    my $ch = eval { $c->dial('a connection') } or return 'closed';
    $ch->request('RPC_IN_DATA', delete $opt{path} // $path, length => 0, host => $tls->[2] // NAME, %opt);
    my $head = eval { $ch->head };
    $ch->close;
    return $head ? $head->{status} : 'closed';
}

sub logged_as {
    my ($httpd, $user) = @_;
    return ok($httpd->logs(qr/^\Q$user\E "RPC_IN_DATA \S+\?\S+ HTTP.*^\Q$user\E "RPC_OUT_DATA \S+\?\S+ HTTP|^\Q$user\E "RPC_OUT_DATA \S+\?\S+ HTTP.*^\Q$user\E "RPC_IN_DATA \S+\?\S+ HTTP/ms, 'access_log'),
              "$user in the log, for both halves");
}

# ---- the tests ----

my @versions = qw(TLSv1_2 TLSv1_3);

my $httpd = httpd();
for my $version (@versions) {
    my $name = $version eq $versions[0] ? 'alice' : 'bob';
    subtest $version => sub {
        ok(opens($httpd, $person{$name}, $version), 'who has a certificate opens a virtual connection');
        logged_as($httpd, $name);
        is(ends($httpd, [$person{$name}, $version]), 200, 'an echo');
        is(ends($httpd, [undef, $version]), 'closed', 'no certificate');
        is(ends($httpd, [$mallory, $version]), 'closed', 'another authority\'s');
        is(ends($httpd, [$person{dora}, $version]), 'closed', 'one that was taken back');
        ok($httpd->logs(qr/certificate revoked/), 'which the log says');
        is(ends($httpd, [$person{$name}, $version], path => '/rpc/rpcproxy.dll', user => 'alice', password => 'secret'), 403,
            'a password is no way in here');
        is(ends($httpd, [undef, $version, 'localhost'], path => '/rpc/rpcproxy.dll', user => 'alice', password => 'secret'), 200,
            'but is at the other name');
        is(ends($httpd, [undef, $version, 'localhost'], host => NAME), 421, 'which is no way round the certificate');
    };
}
undef $httpd;

subtest 'as a password' => sub {
    my $list = vars('serverroot') . "/conf/certificates-$$";
    open my $fh, '>', $list or die "$list: $!\n";
    print $fh "/O=Contoso/CN=alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n";
    close $fh or die "$list: $!\n";
    my $httpd = httpd(sub { shift =~ s/^( +)# (SSLOptions|Auth)/$1$2/gmr });
    for my $version (@versions) {
        ok(opens($httpd, $person{alice}, $version), "$version: who is on the list opens a virtual connection");
        is(ends($httpd, [$person{bob}, $version]), 401, 'who is not does not');
        is(ends($httpd, [undef, $version]), 'closed', 'nor who has no certificate');
    }
    logged_as($httpd, '/O=Contoso/CN=alice');
};

# One virtual host for both: a certificate is optional, and one location requires it.
subtest 'optional' => sub {
    my $httpd = httpd(sub { shift =~ s/SSLVerifyClient +require/SSLVerifyClient optional/r =~ s/Require all denied//r });
    for my $version (@versions) {
        ok(opens($httpd, $person{alice}, $version), "$version: with a certificate");
        is(ends($httpd, [undef, $version]), 403, 'without one');
        is(ends($httpd, [undef, $version], user => 'alice', password => 'secret'), 403, 'a password does not replace it');
        is(ends($httpd, [undef, $version], path => '/rpc/rpcproxy.dll', user => 'alice', password => 'secret'), 200,
            'but does in the other place');
        is(ends($httpd, [$mallory, $version]), 'closed', 'a bad one is worse than none');
    }
};

# SSLVerifyClient in a location: what the comment in conf/ says of it.
subtest 'in a location' => sub {
    my $httpd = httpd(sub {
        shift =~ s/^ +SSLVerifyClient +require\n//mr =~ s/^ +SSLUserName.*\n/$&SSLVerifyClient require\n/mr;
    });
    is(ends($httpd, [undef, 'TLSv1_3']), 403, 'TLSv1_3: an echo is refused to clients that know one handshake');
    ok($httpd->logs(qr/cannot perform post-handshake authentication/), 'for the reason that the log has');
    for my $version (@versions) {
        my $c = person($httpd, $person{alice}, $version);
        $c->{target} = $server->target;
        $c->open_in(host => NAME)->put('x' x 200_000);
        is_answer($c->in->head, 413, "$version: a channel's body would have to end before it begins");
        $c->close;
    }
};

$server->close;
done_testing;
