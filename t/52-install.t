# make install on Debian: the samples as they are installed load beside Debian's own settings, and a
# site that publishes ActiveSync as well goes on beside its waiting telephones.

use strict;
use warnings;
use Test::More;
use File::Path ();
use IO::Socket::IP;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my $root = vars('serverroot');
my $apxs = vars('apxs');
sub apxs { chomp(my $value = qx($apxs -q $_[0])); return $value }
my ($libexec, $sysconf) = (apxs('LIBEXECDIR'), apxs('SYSCONFDIR'));
my $dest = "$root/dest";
my $make = 'make -s install BUILD=' . ($ENV{RPCPROXY_SO} // 'build/mod_rpcproxy.so') =~ s{/[^/]*$}{}r . " APXS=$apxs DESTDIR=$dest";
plan(skip_all => "$sysconf has no conf-available: this is not Debian") if !-d "$sysconf/conf-available";

# What is built is there, so nothing is compiled.
my $out = qx($make 2>&1);
is($?, 0, 'make install') or diag $out;
my %installed = map { $_ => slurp("$dest$sysconf/conf-available/$_") } qw(rpcproxy.conf rpcproxy-ntlm.conf rpcproxy-kerberos.conf rpcproxy-certificate.conf);
like($installed{'rpcproxy.conf'}, qr{LoadModule rpcproxy_module $libexec/mod_rpcproxy\.so}, 'the sample names the module where it is');
ok(-e "$dest$libexec/mod_$_.so", "mod_$_ is installed") for qw(rpcproxy auth_ntlm);

# An administrator's file is no sample any more.
write_file("$dest$sysconf/conf-available/rpcproxy.conf", "# adapted\n");
$out = qx($make 2>&1);
like($out, qr{conf-available/rpcproxy\.conf stays as it is}, 'a second make install says that it leaves what is there');
is(slurp("$dest$sysconf/conf-available/rpcproxy.conf"), "# adapted\n", 'and does so');

sub slurp { open my $fh, '<', $_[0] or return ''; local $/; return scalar <$fh> // '' }
sub write_file { open my $fh, '>', $_[0] or die "$_[0]: $!\n"; print $fh $_[1]; close $fh or die $!; return }

# As Debian: its mods-enabled first, then conf-enabled by name. Only the folder that make install has been
# given stands before the paths.
my $debian = <<"CONF";
<IfModule mpm_event_module>
StartServers            2
MinSpareThreads         25
MaxSpareThreads         75
ThreadLimit             64
ThreadsPerChild         25
MaxRequestWorkers       150
MaxConnectionsPerChild  0
</IfModule>
CONF
sub samples { return join '', map { $installed{$_} =~ s{ \Q$libexec\E/mod_(rpcproxy|auth_ntlm)}{ $dest$libexec/mod_$1}gr } @_ }

# Private servers load this build's modules; these have to do it themselves.
sub httpd {
    my (%arg) = @_;
    my $h = RPCH::Httpd->new(mpm => 'event', limits => $debian, conf => $arg{conf});
    my $modules = slurp("$root/conf/modules.conf") =~ s{^LoadModule (?:rpcproxy|auth_ntlm)_module .*\n}{}mgr;
    write_file("$h->{dir}/modules.conf", $modules);
    my $conf = slurp("$h->{dir}/httpd.conf");
    $conf =~ s{Include \Q$root\E/conf/modules\.conf\n}{Include $h->{dir}/modules.conf\n};
    $conf =~ s{^LogLevel .*\n}{LogLevel info\n}m;
    $conf =~ s{^RpcTargetNetworks .*\n}{}m;
    write_file("$h->{dir}/httpd.conf", $conf);
    return $h;
}

for my $set (['rpcproxy.conf'], ['rpcproxy-ntlm.conf', 'rpcproxy.conf'],
             ['rpcproxy-kerberos.conf', 'rpcproxy-ntlm.conf', 'rpcproxy.conf']) {
    SKIP: {
        skip 'no mod_auth_gssapi', 1 if $set->[0] =~ /kerberos/ && !-e "$libexec/mod_auth_gssapi.so";
        my $headers = "LoadModule headers_module $libexec/mod_headers.so\n";
        my ($status, $said) = httpd(conf => $headers . samples(@$set))->configtest;
        is($status, 0, "configtest of @$set as installed") or diag $said;
    }
}

# ---- the site ----
my $hanging = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 128) or die $!;
my $server = server(echo => 1);
my $site = httpd(conf => samples('rpcproxy.conf') . <<"CONF")->start;
<Location /rpc/rpcproxy.dll>
AuthUserFile $root/conf/users
RpcRequireTLS off
RpcValidPorts 127.0.0.1:1024-65535
RpcTargetNetworks loopback
RpcProfile none
</Location>
LoadModule proxy_module $libexec/mod_proxy.so
LoadModule proxy_http_module $libexec/mod_proxy_http.so
ProxyPass /Microsoft-Server-ActiveSync http://127.0.0.1:@{[ $hanging->sockport ]}/
CONF
ok($site->logs(qr/rpcproxy:notice.*channels outlive 15 graceful restarts/), 'start-up: room for 15 graceful restarts');
unlike($site->log, qr/rpcproxy:warn(?!.*open files)/, 'no limit is too low (but perhaps that of open files, which is not in this file)');
my @phones = map {
    RPCH::HTTP->dial(port => $site->{port}, name => "telephone $_")->request('POST', '/Microsoft-Server-ActiveSync?Cmd=Ping')
} 1 .. 70;
my @kept;
wait_for('70 requests that hang', sub {
    turn(0.02);
    $hanging->blocking(0);
    while (my $c = $hanging->accept) { push @kept, $c }
    @kept == 70;
});
my $page = RPCH::HTTP->dial(port => $site->{port}, name => 'a page')->request('GET', '/nothing-here');
is(eval { $page->head->{status} }, 404, 'beside 70 telephones that wait at ActiveSync: a page');
# FreeRDP and mstsc ask for another transport first, and go on when there is none
for my $path ('/remoteDesktopGateway/', '/remotedesktopgateway/') {
    my $rdg = RPCH::HTTP->dial(port => $site->{port}, name => 'RDG_OUT_DATA')->request('RDG_OUT_DATA', $path, length => 0);
    is(eval { $rdg->head->{status} }, 404, "RDG_OUT_DATA $path by the sample: 404");
    $rdg->close;
}
my $c = plain(port => $site->{port}, target => $server->target);
ok(eval { $c->connect; rpc_parse($c->call(request_pdu(1, 'works')))->{stub} eq 'works' }, 'and RPC over HTTP');
$_->close for @kept, @phones, $page, $c, $server, $hanging;
undef $site;
File::Path::remove_tree($dest);
done_testing;
