# make install on Debian, and make uninstall: which files are installed and removed. The installed samples
# load beside Debian's own settings. A site that publishes ActiveSync as well is served while many
# telephones wait for an answer.

use strict;
use warnings;
use Test::More;
use File::Find ();
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
# All has been built before, so nothing is compiled.
my $build = ($ENV{RPCPROXY_SO} // 'build/mod_rpcproxy.so') =~ s{/[^/]*$}{}r;
sub make { return scalar qx(make -s $_[0] BUILD=$build APXS=$apxs DESTDIR=$dest PREFIX=/usr MODS_AVAILABLE=$sysconf/mods-available 2>&1) }
my $out = make('install');
is($?, 0, 'make install') or diag $out;
my $doc = '/usr/share/doc/libapache2-mod-rpcproxy';
my @samples = map { s{^conf/}{}r } sort grep { !m{^conf/mods-available/} } files('conf');
cmp_ok(scalar @samples, '>=', 6, 'there are samples');
my @wanted = sort(
    "$libexec/mod_rpcproxy.so", "$libexec/mod_auth_ntlm.so", "$libexec/mod_rpc_backend_auth.so", '/usr/bin/rpcping',
    '/usr/share/bash-completion/completions/rpcping', '/usr/share/man/man1/rpcping.1',
    (map { "/usr/share/man/man8/mod_$_.8" } qw(rpcproxy auth_ntlm rpc_backend_auth)),
    (map { "$sysconf/mods-available/$_" } qw(rpcproxy.load rpcproxy.conf auth_ntlm.load rpc_backend_auth.load)),
    (map { "$doc/$_" } qw(README CHANGES SECURITY.md LICENSE)), (map { "$doc/manual/" . s{^doc/}{}r } glob 'doc/*.md doc/*.png'), (map { "$doc/examples/$_" } @samples));
is_deeply([map { s{^\Q$dest\E}{}r } files($dest)], \@wanted, 'it installs these files');
my @strange = grep { ((stat "$dest$_")[2] & 07777) != (m{/bin/} ? 0755 : 0644) } @wanted;
is("@strange", '', 'which all may read, and the owner alone may change');
my %installed = map { $_ => slurp("$dest$doc/examples/$_") } @samples;
like($installed{'rpcproxy.conf'}, qr{LoadModule rpcproxy_module $libexec/mod_rpcproxy\.so}, 'the sample names the module where it is');

# A file that the administrator has changed stays.
my $adapted = "$sysconf/mods-available/rpcproxy.conf";
my $shared = slurp("$dest$adapted");
write_file("$dest$adapted", "# adapted\n");
for my $action (qw(install uninstall)) {
    like(make($action), qr{\Q$dest$adapted\E stays as it is}, "make $action says that it leaves what was adapted");
}
is(slurp("$dest$adapted"), "# adapted\n", 'and does so');
is_deeply([files($dest)], ["$dest$adapted"], 'make uninstall has taken away the rest');
unlink "$dest$adapted";
make('install');
File::Path::make_path("$dest$sysconf/mods-enabled");
my $link = "$dest$sysconf/mods-enabled/rpcproxy.load";
symlink '../mods-available/rpcproxy.load', $link;
is(make('uninstall'), "$link leads nowhere now: a2dismod rpcproxy\n", 'make uninstall names the link of a module that is enabled');
unlink $link;
is_deeply([files($dest)], [], 'where nothing was adapted nothing stays');
ok(!-e "$dest$doc", 'nor does the folder of documents');
make('install');

sub files {
    my @found;
    File::Find::find({ no_chdir => 1, wanted => sub { push @found, $_ if -f } }, @_);
    return sort @found;
}
sub slurp { open my $fh, '<', $_[0] or return ''; local $/; return scalar <$fh> // '' }
sub write_file { open my $fh, '>', $_[0] or die "$_[0]: $!\n"; print $fh $_[1]; close $fh or die $!; return }

# The order of Debian: first mods-enabled, then conf-enabled by name. In the installed files each path
# gets the prefix of the folder that make install was given.
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
sub samples { return join '', map { $installed{$_} =~ s{ \Q$libexec\E/mod_(rpcproxy|auth_ntlm|rpc_backend_auth)}{ $dest$libexec/mod_$1}gr } @_ }

# RPCH::Httpd loads the modules of this build; a server with installed files must not, because these load
# them.
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

for my $set (['rpcproxy.conf'], ['rpcproxy-delegation.conf', 'rpcproxy.conf'], ['rpcproxy-upstream.conf'], ['rpcproxy-ntlm.conf', 'rpcproxy.conf'],
             ['rpcproxy-kerberos.conf', 'rpcproxy-ntlm.conf', 'rpcproxy.conf']) {
    SKIP: {
        skip 'no mod_auth_gssapi', 2 if $set->[0] =~ /kerberos/ && !-e "$libexec/mod_auth_gssapi.so";
        my $headers = "LoadModule headers_module $libexec/mod_headers.so\n";
        my ($status, $said) = httpd(conf => $headers . samples(@$set))->configtest;
        is($status, 0, "configtest of @$set as installed") or diag $said;
        unlike($said, qr/rpcproxy:warn/, 'without a warning of ours');
    }
}

# The files that a2enmod enables: as they are, and with all directives that are commented out.
my $mods = join '', map { slurp("$dest$sysconf/mods-available/$_.load") =~ s{ \Q$libexec\E/mod_}{ $dest$libexec/mod_}r } qw(auth_ntlm rpcproxy);
cmp_ok(scalar(() = $shared =~ /^#Rpc/mg), '>=', 6, 'mods-available/rpcproxy.conf has directives to choose from');
for my $case (['as it is', $shared], ['with all of them', $shared =~ s/^#(?=Rpc)//mgr]) {
    my ($status, $said) = httpd(conf => $mods . $case->[1])->configtest;
    is($status, 0, "configtest $case->[0]") or diag $said;
}

# ---- the site ----
my $hanging = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 128) or die $!;
my $server = server(echo => 1);
my $site = httpd(conf => $mods . $shared . samples('rpcproxy.conf') . RPCH::Httpd->loosened_sample . <<"CONF")->start;
LoadModule proxy_module $libexec/mod_proxy.so
LoadModule proxy_http_module $libexec/mod_proxy_http.so
@{[ slurp("$dest$sysconf/mods-available/rpc_backend_auth.load") =~ s{ \Q$libexec\E/mod_}{ $dest$libexec/mod_}r ]}
ProxyPass /Microsoft-Server-ActiveSync http://127.0.0.1:@{[ $hanging->sockport ]}/
@{[ slurp('conf/rpcproxy.conf') =~ /^# (RedirectMatch 200 .*)/m ]}
LoadModule info_module $libexec/mod_info.so
<Location /info>
SetHandler server-info
</Location>
CONF

# ---- the version ----
my ($version) = slurp('base/version.h') =~ /RPCPROXY_VERSION "(.*)"/;
my $components = qr{(?=.*mod_rpcproxy/\Q$version\E).*mod_auth_ntlm/\Q$version\E.*mod_rpc_backend_auth/\Q$version\E};
ok($site->logs(qr{$components.*configured -- resuming}), "httpd's line at start-up has the version of all modules");
my $info = RPCH::HTTP->dial(port => $site->{port}, name => 'mod_info')->request('GET', '/info?server', version => '1.0');
like($info->body, qr{Server Version:.*$components}, 'so has the page of mod_info');
# The installed manual pages name the directives that the modules have.
for (['mod_rpcproxy', 'mod_rpcproxy.c'], ['mod_auth_ntlm', 'mod_auth_ntlm.c'], ['mod_rpc_backend_auth', 'mod_rpc_backend_auth.c']) {
    my ($module, $source) = @$_;
    my $said = RPCH::HTTP->dial(port => $site->{port}, name => $module)->request('GET', "/info?$source", version => '1.0')->body;
    my %described = map { $_ => 1 } slurp("$dest/usr/share/man/man8/$module.8") =~ /^\.SS ((?:Rpc|AuthNtlm)\w+)$/mg;
    my %known = map { $_ => 1 } $said =~ m{<tt>((?:Rpc|AuthNtlm)\w+) - <i>}g;
    is_deeply([sort keys %described], [sort keys %known], "$module(8) has each of " . keys(%known) . ' directives, and no others');
}

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
my $health = RPCH::HTTP->dial(port => $site->{port}, name => 'a balancer')->request('GET', '/rpc/healthcheck.htm');
is($health->head->{status}, 200, "Exchange's page for balancers, by the line of the sample");
$health->close;
# FreeRDP and mstsc first ask for another transport, and continue when there is none
for my $path ('/remoteDesktopGateway/', '/remotedesktopgateway/') {
    my $rdg = RPCH::HTTP->dial(port => $site->{port}, name => 'RDG_OUT_DATA')->request('RDG_OUT_DATA', $path, length => 0);
    is(eval { $rdg->head->{status} }, 404, "RDG_OUT_DATA $path by the sample: 404");
    $rdg->close;
}
my $c = plain(port => $site->{port}, target => $server->target);
ok(eval { $c->connect; rpc_parse($c->call(request_pdu(1, 'works')))->{stub} eq 'works' }, 'and RPC over HTTP');
$_->close for @kept, @phones, $page, $info, $c, $server, $hanging;
undef $site;
File::Path::remove_tree($dest);
done_testing;
