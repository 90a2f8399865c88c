# The manual's way from the package to the first ping, on a site of each kind: the commands of its pages are
# run one after the other, and the lines that they tell to change are changed, in a copy of Debian's folders.
# What stands behind is a double; names lead to the loopback, and ports are free ones.

use strict;
use warnings;
use Digest::SHA qw(sha1_base64);
use File::Path qw(make_path);
use Test::More;
use Text::ParseWords qw(shellwords);
use RPCH::Demo;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Manual qw(blocks commands edit);
use RPCH::Needs qw(modules needs);
use RPCH::NTLM;
use RPCH::Root;
use RPCH::Test;

my $top = vars('top_dir');
my $root = vars('serverroot');
my $modules = modules();
needs(qw(curl haproxy openssl), map { "mod_$_.so" } qw(headers proxy proxy_http include rewrite remoteip));
my $build = build_dir();
my $etc = "$root/etc";
make_path(map { "$etc/$_" } qw(apache2/conf-available apache2/sites-available ssl/certs ssl/private haproxy));
chmod 0755, map { "$etc/$_" } '', qw(apache2 apache2/conf-available apache2/sites-available ssl ssl/certs);
my ($PASSWORD, $CERT, $KEY) = ('secret', "$etc/ssl/certs/mail.pem", "$etc/ssl/private/mail.key");

# The part that matters of Debian's site.
put("$etc/apache2/sites-available/default-ssl.conf", <<'CONF');
<VirtualHost *:443>
    ServerAdmin webmaster@localhost
    SSLEngine on
    SSLCertificateFile      /etc/ssl/certs/ssl-cert-snakeoil.pem
    SSLCertificateKeyFile   /etc/ssl/private/ssl-cert-snakeoil.key
</VirtualHost>
CONF

# ---- what stands behind ----

my $demo = RPCH::Demo->new;
my $store = refused_port();

# An RPC proxy of its own, as Exchange and RD Gateway have, for all targets; and a native server, the
# endpoint.
my ($native, $proxy) = map { RPCH::Root::free_ports(1) } 1 .. 2;
put("$root/walk.smbpasswd", RPCH::NTLM::smbpasswd_line(alice => $PASSWORD));
my $behind = RPCH::Httpd->new;
sub behind {
    my $common = "SetHandler rpcproxy\nAuthName rpc\nRequire valid-user\nRpcValidPorts *:1-65535\nRpcBackend * ncacn_ip_tcp:127.0.0.1[$demo->{port}]";
    return $behind->configure(<<"CONF")->start;
RpcEndpointListen 127.0.0.1:$native ncacn_ip_tcp:127.0.0.1[$demo->{port}]
Listen 127.0.0.1:$proxy
<VirtualHost 127.0.0.1:$proxy>
    SSLEngine on
    SSLCertificateFile $CERT
    SSLCertificateKeyFile $KEY
    <Location /rpc/rpcproxy.dll>
        $common
        AuthType NTLM
        AuthNtlmUserFile $root/walk.smbpasswd
        AuthNtlmPinnedConnections On
        AuthNtlmBasicProvider file
        AuthUserFile $etc/apache2/rpc.users
    </Location>
</VirtualHost>
CONF
}

# ---- one walk ----

# What a page says, here: its paths, names and ports.
sub here {
    my ($text, $port) = @_;
    $text =~ s{/etc/}{$etc/}g;
    $text =~ s{/usr/share/doc/libapache2-mod-rpcproxy/examples/}{$top/conf/}g;
    $text =~ s{https://(?:mail|autodiscover|rdg)\.example\.com}{https://localhost:$port}g;
    $text =~ s{https://(?:cas|cas2007|rdg\.corp)\.example\.com}{https://localhost:$proxy}g;
    $text =~ s{\b(?:mail|autodiscover|rdg)\.example\.com\b}{localhost}g;
    $text =~ s{(_ADDRESS +)\S+}{${1}127.0.0.1}g;
    $text =~ s{redis://\S+}{redis://127.0.0.1:$store}g;
    return $text;
}

# A file of the site, with the ports and modules of this run.
sub file_here {
    my ($text, $port) = @_;
    $text =~ s{^ *LoadModule (?:rpcproxy|auth_ntlm)_module .*\n}{}mg;
    $text =~ s{ /usr/lib/apache2/modules/mod_rpc}{ $build/mod_rpc}g;
    $text =~ s{ /usr/lib/apache2/modules/}{ $modules/}g;
    $text =~ s{<VirtualHost \*:443>}{<VirtualHost 127.0.0.1:$port>}g;
    $text =~ s{ncacn_http:[^\s\[]+\[\]}{ncacn_http:127.0.0.1[$native]}g;
    $text =~ s{ncacn_ip_tcp:[^\s\[]+\[\]}{ncacn_ip_tcp:127.0.0.1[$demo->{port}]}g;
    $text =~ s{(RpcNspiServers +)\S+}{${1}127.0.0.1 $native};
    return here($text, $port);
}

package Walk {
    use Test::More;

    sub new {
        my ($class, $page) = @_;
        return bless { page => $page, port => RPCH::Root::free_ports(1), enabled => [], files => [], httpd => RPCH::Httpd->new(mpm => 'event', limits => '') }, $class;
    }

    sub configure {
        my ($self) = @_;
        my @load = map { my $so = /^rpc/ ? "$build/mod_$_.so" : "$modules/mod_$_.so"; "LoadModule ${_}_module $so\n" }
                   grep { main::slurp("$root/conf/modules.conf") !~ /\b${_}_module\b/ } @{ $self->{enabled} };
        my $text = join '', map { main::file_here(main::slurp($_), $self->{port}) } @{ $self->{files} };
        $self->{httpd}->configure(join '', @load, "Listen 127.0.0.1:$self->{port}\n", $text);
        return;
    }

    my %DOES = (
        apt => sub { return (0, '') },
        a2enmod => sub { my ($self, @names) = @_; push @{ $self->{enabled} }, @names; my @no = grep { !-e "$modules/mod_$_.so" && !-e "$build/mod_$_.so" } @names; return (scalar @no, "no module @no") },
        a2enconf => sub { my ($self, @names) = @_; push @{ $self->{files} }, map { "$etc/apache2/conf-available/$_.conf" } @names; return (0, '') },
        a2ensite => sub { my ($self, @names) = @_; push @{ $self->{files} }, map { "$etc/apache2/sites-available/$_.conf" } @names; return (0, '') },
        apachectl => sub { my ($self) = @_; $self->configure; return $self->{httpd}->configtest },
        systemctl => sub { my ($self) = @_; return eval { $self->{httpd}->start; 1 } ? (0, '') : (1, $@) },
        htpasswd => sub {
            my ($self, @args) = @_;
            my ($user, $file) = reverse @args;
            my $others = (grep { $_ eq '-c' } @args) ? '' : main::slurp($file);
            main::put($file, $others, "$user:{SHA}" . Digest::SHA::sha1_base64($PASSWORD) . "=\n");
            return (0, '');
        },
    );

    # The exit status and the output of a command.
    sub does {
        my ($self, $command) = @_;
        my @words = Text::ParseWords::shellwords($command);
        my $does = $DOES{ $words[0] };
        return $does->($self, @words[1 .. $#words]) if $does;
        $command =~ s{^rpcping }{$build/rpcping -t 15 };
        $command =~ s{^(curl .*-u \w+)}{$1:$PASSWORD};
        local $ENV{RPCPING_PASSWORD} = $PASSWORD;
        local $ENV{LD_PRELOAD} = '';
        my $out = qx{bash -c '@{[ $command =~ s/'/'\\''/gr ]}' 2>&1};
        return ($? >> 8, $out);
    }

    # Walks the page; EXPECTED has another exit status for some commands. Returns the output of each.
    sub walk {
        my ($self, %expected) = @_;
        my @said;
        for my $block (RPCH::Manual::blocks(main::slurp("doc/$self->{page}.md"))) {
            if ($block->{kind} eq 'apache' && $block->{info} =~ /^edit (.*)$/) {
                is(main::edit(main::here($1, 0), $block->{text}), '', "$self->{page}: what is to be changed in $1");
                next;
            }
            next if $block->{kind} ne 'console';
            for my $command (RPCH::Manual::commands($block)) {
                my ($status, $out) = $self->does(main::here($command, $self->{port}));
                my ($want) = (map { $expected{$_} } grep { index($command, $_) >= 0 } sort keys %expected), 0;
                is($status, $want // 0, "$self->{page}: $command") or diag $out, $self->{httpd}->log;
                push @said, $out;
            }
        }
        return @said;
    }
}

# ---- the pages ----

my @layers = ('address', 'TLS', 'authentication', 'echo', 'virtual connection', 'bind', 'call');
{
    my @said = Walk->new('first-steps')->walk;
    is_deeply([$said[-1] =~ /^  (\S.*?) +ok\b/mg], \@layers, 'all layers work, in the order that the page shows');
    my ($shown) = slurp('doc/first-steps.md') =~ /^```text\n(.*?)^```/ms;
    is_deeply([$shown =~ /^  (\S.*?) +ok\b/mg], \@layers, 'which are these');
}
behind();
like((Walk->new('site-exchange')->walk)[-1], qr/^  call +ok/m, 'an Exchange with a proxy of its own: a call');
like((Walk->new('site-rdgateway')->walk)[-1], qr/^  authentication +ok .*NTLM, user EXAMPLE\\alice.*^  call +ok/ms, 'an RD Gateway: a call, by NTLM');
# The double has no emsmdb and no nspi: that the server says so shows that it was asked.
{
    my @said = Walk->new('site-exchange2007')->walk('-I emsmdb' => 7, '-I nspi' => 7);
    like($said[-3], qr/^  call +ok/m, 'Exchange 2007: a call');
    like($said[$_], qr/^  bind +FAILED.*the server does not offer it/ms, 'a server is asked for the interface') for -2, -1;
}
like((Walk->new('site-samba')->walk)[-2], qr/^  call +ok/m, 'a domain controller: a call');
{
    my @said = Walk->new('site-autodiscover')->walk;
    like($said[-1], qr{<Type>EXPR</Type>.*<Server>localhost</Server>}s, 'Autodiscover names the proxy');
}
{
    my $walk = Walk->new('site-farm');
    $walk->walk;
    ok($walk->{httpd}->logs(qr/RPC0028: RpcSharedStore: 127\.0\.0\.1:$store is away/), 'a farm: the line for its store') or diag $walk->{httpd}->log;
}
done_testing;
