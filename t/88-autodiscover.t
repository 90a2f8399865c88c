# The site conf/sites/autodiscover.conf: what a client that is set up by Autodiscover is told, and who is told
# nothing.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Root;
use RPCH::Test;

chomp(my $modules = qx(@{[ vars('apxs') ]} -q LIBEXECDIR));
-e "$modules/mod_$_.so" or plan(skip_all => "no mod_$_") for qw(include rewrite);

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
done_testing;
