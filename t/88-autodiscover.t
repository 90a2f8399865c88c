# The site conf/sites/autodiscover.conf: what a client that is set up by Autodiscover is told, and who is told
# nothing; and that the profiles of conf/outlook/ say the same.

use strict;
use warnings;
use Encode qw(decode);
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::Root;
use RPCH::Test;

my $modules = needs_modules(qw(include rewrite));

my $root = vars('serverroot');
my $folder = "$root/autodiscover";
mkdir $folder or die "$folder: $!\n";
chmod 0755, $folder or die "$folder: $!\n";
put("$folder/autodiscover.xml", slurp('conf/autodiscover/autodiscover.xml'));
put("$root/autodiscover.users", map { "$_:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n" } 'alice', 'EXAMPLE\\bob', 'carol@example.com', 'd&<e');    # secret
my %value = (
    AUTODISCOVER_CERTIFICATE => "$root/conf/server.crt", AUTODISCOVER_KEY => "$root/conf/server.key",
    AUTODISCOVER_USERS => "$root/autodiscover.users", AUTODISCOVER_FOLDER => $folder,
);
my $site = slurp('conf/sites/autodiscover.conf') =~ s{ /usr/lib/apache2/modules/}{ $modules/}gr;
for my $name (sort keys %value) {
    $site =~ s{^Define $name +\K.*$}{"$value{$name}"}m or die "the site has no $name\n";
}
my $port = RPCH::Root::free_ports(1);
my $httpd = RPCH::Httpd->new(conf => "Listen 127.0.0.1:$port\n" . $site =~ s/<VirtualHost \*:443>/<VirtualHost 127.0.0.1:$port>/r);
is(join(' ', $httpd->configtest), "0 Syntax OK\n", 'configtest has nothing to say');
$httpd->start;

sub ask {
    my ($method, $uri, $user, $password, $length) = @_;
    my $http = RPCH::HTTP->dial(port => $port, name => "$method $uri", tls => { SSL_verify_mode => 0 });
    my @who = defined $user ? ('Authorization: Basic ' . encode_base64("$user:$password", '')) : ();
    $http->request($method, $uri, version => '1.0', host => 'autodiscover.example.com', headers => \@who,
                   defined $length ? (length => $length) : ());
    $http->put('x' x $length) if $length && $length < 1000;
    my $head = $http->head;
    my $body = $head->{status} == 200 ? $http->body : '';
    $http->close;
    return ($head, $body);
}

my ($head, $body) = ask('POST', '/autodiscover/autodiscover.xml', 'alice', 'secret', 300);
is($head->{status}, 200, 'a client asks as it does, by POST');
like($head->{headers}{'content-type'}, qr{^text/xml}, 'and gets XML');
my %protocol = map { my $text = $_; my ($type) = $text =~ m{<Type>(\w+)</Type>}; $type => { $text =~ m{<(\w+)>([^<]*)</\w+>}g } }
               $body =~ m{<Protocol>(.*?)</Protocol>}gs;
is_deeply($protocol{EXPR}, { Type => 'EXPR', Server => 'mail.example.com', SSL => 'On', AuthPackage => 'Basic',
                             CertPrincipalName => 'msstd:mail.example.com' }, 'EXPR: the proxy');
is_deeply($protocol{EXCH}, { Type => 'EXCH', Server => 'exch1.example.com', ServerVersion => '720180F0',
                             ServerDN => '/o=Example/ou=First Administrative Group/cn=Configuration/cn=Servers/cn=exch1.example.com' },
          'EXCH: the server behind');
unlike($body, qr/<!--|\(none\)|error occurred/, 'nothing of the template is left');
for my $case (['alice', 'alice'], ['EXAMPLE\\bob', 'bob'], ['carol@example.com', 'carol'], ['d&<e', 'd&amp;&lt;e']) {
    (undef, my $said) = ask('GET', '/Autodiscover/Autodiscover.xml', $case->[0], 'secret');
    like($said, qr{<LegacyDN>/o=Example/ou=First Administrative Group/cn=Recipients/cn=\Q$case->[1]\E</LegacyDN>}, "$case->[0] is $case->[1]");
}
is((ask('POST', '/autodiscover/autodiscover.xml', undef, undef, 0))[0]{status}, 401, 'without a password: refused');
is((ask('POST', '/autodiscover/autodiscover.xml', 'alice', 'wrong', 0))[0]{status}, 401, 'with a wrong one: refused');
is((ask('POST', '/autodiscover/autodiscover.xml', 'alice', 'secret', 100_000))[0]{status}, 413, 'a body of 100 kB: refused');

# ---- profiles that are set up without it: conf/outlook/ ----

my ($prf, $reg) = map { slurp("conf/outlook/outlook.$_") } qw(prf reg);
is(scalar(() = /(?<!\r)\n/g), 0, 'Windows reads each line to its end') for $prf, $reg;
s/\r\n/\n/g for $prf, $reg;
my %scheme = (Basic => 1, Ntlm => 2);
my ($USE, $TLS_ONLY, $CERTIFICATE) = (1, 2, 4);
sub agrees {
    my ($name, $server, $principal, $flags, $scheme) = @_;
    my $expr = $protocol{EXPR};
    is("$server $principal", "$expr->{Server} $expr->{CertPrincipalName}", "$name: the proxy and the name in its certificate");
    is($flags & ($USE | $TLS_ONLY | $CERTIFICATE), $USE | ($expr->{SSL} eq 'On' ? $TLS_ONLY | $CERTIFICATE : 0), "$name: RPC over HTTP, TLS, and the certificate");
    return is($scheme, $scheme{ $expr->{AuthPackage} }, "$name: how clients log on");
}
my %section = map { my ($name, $lines) = /^\[(.*)\]\n(.*)/s; $name => { $lines =~ /^([^;=\n]+)=(.*)$/mg } } $prf =~ /(^\[.*?)(?=^\[|\z)/msg;
my $egs = $section{ServiceEGS};
agrees('outlook.prf', @$egs{qw(RPCProxyServer RPCProxyPrincipalName)}, map { hex $egs->{$_} } qw(RPCoverHTTPflags RPCProxyAuthScheme));
is($_->{HomeServer}, $protocol{EXCH}{Server}, 'outlook.prf: the mailbox server') for $egs, $section{Service1};
for my $service (['ServiceEGS', 'Exchange Global Section'], ['Service1', 'Microsoft Exchange Server']) {
    is($section{'Service List'}{ $service->[0] }, $service->[1], "outlook.prf: $service->[0]");
    is(join(' ', grep { !$section{ $service->[1] }{$_} && !/ExistingService|UniqueService/ } sort keys %{ $section{ $service->[0] } }), '', 'with a property for each of its lines');
}
# The numbers of the properties are the documented ones, and name the values of the registry.
my %documented = (RPCProxyServer => 'PT_UNICODE,0x6622', RPCoverHTTPflags => 'PT_LONG,0x6623', RPCProxyPrincipalName => 'PT_UNICODE,0x6625',
                  RPCProxyAuthScheme => 'PT_LONG,0x6627');
is_deeply({ map { $_ => $section{'Exchange Global Section'}{$_} } keys %documented }, \%documented, 'outlook.prf: the numbers of the properties');
my %hex = $reg =~ s/\\\n +//gr =~ /^"([0-9a-f]{8})"=hex:([0-9a-f,]+)$/mg;
is(join(' ', sort keys %hex), join(' ', sort map { (/UNICODE/ ? '001f' : '0003') . substr $_, -4 } values %documented), 'outlook.reg: the same numbers');
my %bytes = map { $_ => pack 'C*', map { hex } split /,/, $hex{$_} } keys %hex;
my @words = map { decode('UTF-16LE', $bytes{$_}) =~ s/\0\z//r } qw(001f6622 001f6625);
agrees('outlook.reg', @words, map { unpack 'V', $bytes{$_} } qw(00036623 00036627));
my ($command) = $reg =~ /^;   (printf .*)$/m;
chomp(my $made = qx(bash -c '@{[ $command =~ s/'/'\\''/gr ]}'));
is($made, $hex{'001f6622'}, 'outlook.reg: the command makes such a value');
like($reg, qr/\AWindows Registry Editor Version 5\.00\n\n/, 'outlook.reg: regedit knows it');
done_testing;
