#!/usr/bin/perl
# The way of the manual, in the clean root that deb_test.sh has made: from `apt install` to the first ping on a
# site of each kind, and an upgrade. The commands of the pages are run as they stand there, and the lines that
# the pages tell to change are changed; who is asked for a password types it. TAP.
# usage: deb_walk.pl MANUAL (the folder of the pages)
#
# What an administrator has besides is made here: names, and the servers behind. These are rpcdemo, and a second
# httpd in the part of Exchange and RD Gateway. t/93-first-steps.t walks the same way with the doubles of the suite.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::Manual qw(blocks commands edit);

my ($manual) = @ARGV;
my $PASSWORD = 'secret';
my $behind = '/srv/behind';

# ---- what an administrator has ----

# COMMAND by a shell that has no terminal, so what asks for a password reads it from its input (rpcping: from the
# environment). The exit status and what it says.
sub run {
    my ($command) = @_;
    local $ENV{RPCPING_PASSWORD} = $PASSWORD;
    put('/root/typed', "$PASSWORD\n" x ($command =~ /^htpasswd/ ? 2 : 1));
    put('/root/command', "$command\n");
    my $said = qx(setsid --wait bash /root/command 2>&1 </root/typed);
    return ($? >> 8 || $? & 127, $said);
}

sub names {
    put('/etc/hosts', "127.0.0.1 localhost\n10.0.0.5 mail.example.com autodiscover.example.com rdg.example.com\n"
        . "10.0.0.7 cas.example.com cas2007.example.com rdg.corp.example.com\n"
        . "10.0.0.9 exch1.example.com gc1.example.com\n10.0.0.10 app1.example.com dc1.example.com\n");
    # All are addresses of this one machine, whose httpd is to leave some to others.
    put('/etc/apache2/ports.conf', slurp('/etc/apache2/ports.conf') =~ s/Listen (80|443)$/Listen 10.0.0.5:$1\nListen 127.0.0.1:$1/mgr);
    return;
}

# There is no systemd in the root.
sub services {
    put('/usr/local/bin/systemctl', qq(#!/bin/sh\nexec service "\$2" "\$1"\n));
    chmod 0755, '/usr/local/bin/systemctl';
    put('/etc/apt/apt.conf.d/99walk', qq(APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n));
    return;
}

sub start {
    my (@command) = @_;
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    open STDOUT, '>>', '/root/behind.log';
    open STDERR, '>&', \*STDOUT;
    exec @command;
    die "@command: $!\n";
}

# An RPC proxy of its own, as Exchange and RD Gateway have, for all targets; and native servers.
sub behind {
    mkdir $behind;
    my $modules = '/usr/lib/apache2/modules';
    my ($hash) = run(q(printf %s secret | iconv -t utf-16le | openssl md4 -provider legacy >/root/hash)) ? () : slurp('/root/hash') =~ /(\w{32})$/m;
    put("$behind/smbpasswd", 'alice:1000:' . 'X' x 32 . ':' . uc($hash // '') . ":[U          ]:LCT-0:\n");
    my $load = join '', map { -e "$modules/mod_$_.so" ? "LoadModule ${_}_module $modules/mod_$_.so\n" : () }
               qw(mpm_event authn_core authn_file authz_core authz_user auth_basic socache_shmcb ssl rpcproxy auth_ntlm);
    my $native = join '', map { "RpcEndpointListen 10.0.0.9:$_ ncacn_ip_tcp:10.0.0.10[6001]\n" } 6001, 6002, 6004;
    put("$behind/httpd.conf", $load . $native . <<"CONF");
ServerRoot $behind
ServerName behind
PidFile $behind/httpd.pid
ErrorLog $behind/error_log
User www-data
Group www-data
KeepAlive On
Listen 10.0.0.7:443
SSLEngine on
SSLCertificateFile /etc/ssl/certs/mail.pem
SSLCertificateKeyFile /etc/ssl/private/mail.key
<Location /rpc/rpcproxy.dll>
    SetHandler rpcproxy
    AuthName rpc
    AuthType NTLM
    AuthNtlmUserFile $behind/smbpasswd
    AuthNtlmPinnedConnections On
    AuthNtlmBasicProvider file
    AuthUserFile /etc/apache2/rpc.users
    Require valid-user
    RpcValidPorts *:1-65535
    RpcBackend * ncacn_ip_tcp:10.0.0.10[6001]
</Location>
CONF
    return run("apache2 -f $behind/httpd.conf");
}

# ---- one page ----

# Walks the page; EXPECTED has another exit status for commands with this text. Returns what each has said.
sub walk {
    my ($page, %expected) = @_;
    my @said;
    for my $block (blocks(slurp("$manual/$page" . '.md'))) {
        if ($block->{kind} eq 'apache' && $block->{info} =~ /^edit (.*)$/) {
            is(edit($1, $block->{text}), '', "$page: what is to be changed in $1");
            next;
        }
        next if $block->{kind} ne 'console';
        for my $command (commands($block)) {
            my ($status, $said) = run($command);
            my ($want) = ((map { $expected{$_} } grep { index($command, $_) >= 0 } sort keys %expected), 0);
            is($status, $want, "$page: $command") or diag $said, qx(tail -n 20 /var/log/apache2/error.log);
            push @said, $said;
        }
    }
    return @said;
}

# Another site in the place of those that are there.
sub make_room { return run('cd /etc/apache2/sites-enabled && a2dissite -q $(ls | grep -v 000-default); a2disconf -q rpcproxy') }

my $CALLED = qr/^  call +ok/m;
names();
services();
run('service apache2 start');
my @started = map { start('/root/rpcdemo', "10.0.0.10:$_") } 6001, 135;

like((walk('first-steps'))[-1], $CALLED, 'from the package to the first answer');
{
    my %named = map { $_ => 1 } map { slurp($_) =~ m{(/usr/share/doc/libapache2-mod-rpcproxy/[\w./-]*\w)}g } glob "$manual/*.md";
    is(join(' ', grep { !-e } sort keys %named), '', 'what the pages name in /usr/share/doc is there');
}
is((behind())[0], 0, 'the servers behind run') or diag slurp("$behind/error_log");
make_room();
like((walk('site-exchange'))[-1], $CALLED, 'Exchange');
like((walk('site-rdgateway'))[-1], $CALLED, 'RD Gateway, beside it');
make_room();
like((walk('site-samba'))[-2], $CALLED, 'a domain controller');
make_room();
# rpcdemo has no emsmdb and no nspi: that the server says so shows that it was asked.
{
    my @said = walk('site-exchange2007', '-I emsmdb' => 7, '-I nspi' => 7);
    like($said[-3], $CALLED, 'Exchange 2007');
    like($said[$_], qr/^  bind +FAILED.*the server does not offer it/ms, 'a server is asked for the interface') for -2, -1;
}
like((walk('upgrading'))[-1], $CALLED, 'an upgrade, after which the site serves');
like((walk('site-autodiscover'))[-1], qr{<Type>EXPR</Type>.*<Server>mail\.example\.com</Server>}s, 'Autodiscover, beside it');
walk('site-farm');
like(slurp('/var/log/apache2/error.log'), qr/RPC0028: RpcSharedStore: 10\.0\.0\.8:6379 is away/, 'a farm: the line for its store');
put('/etc/hosts', slurp('/etc/hosts') =~ s/ mail\.example\.com//r);      # names are DNS's matter
{
    my ($ping) = grep { $_->{kind} eq 'text' } blocks(slurp("$manual/site-farm" . '.md'));
    like(join('', map { (run($_))[1] } commands($ping)), $CALLED, 'the first ping of a machine, beside other sites');
}

run('service apache2 stop');
kill TERM => @started;
done_testing;
