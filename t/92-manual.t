# The manual: httpd takes each configuration in doc/*.md, commands are ones that a shell takes, and those
# that need nothing run; each link leads somewhere. (t/76-fronts.t runs the samples of front ends.)

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::NTLM;
use RPCH::Root;
use RPCH::Test;

my @pages = grep { !m{/(?:architecture|protocol)\.md$} } sort glob 'doc/*.md';
cmp_ok(scalar @pages, '>=', 20, 'there are pages');
my %text = map { $_ => slurp($_) } @pages, 'doc/architecture.md', 'doc/protocol.md';
my $root = vars('serverroot');
my $modules = RPCH::Root::ask_apxs(vars('apxs'), 'LIBEXECDIR');

# ---- links ----
sub anchors { my ($file) = @_; return map { lc s/[^\w -]//gr =~ s/ /-/gr } $text{$file} =~ /^#+ (.*)$/mg }
for my $page (@pages) {
    my @astray;
    for my $link ($text{$page} =~ /\]\(([^)\s]+)\)/g) {
        my ($file, $anchor) = $link =~ /^([^#]*)#?(.*)$/;
        $file = length $file ? "doc/$file" : $page;
        push @astray, $link if !$text{$file} || (length $anchor && !grep { $_ eq $anchor } anchors($file));
    }
    is("@astray", '', "$page: its links");
    my $name = $page =~ s{^doc/}{}r;
    ok($name eq 'index.md' || $text{'doc/index.md'} =~ /\(\Q$name\E\)/, "$page: the index has it");
}

# ---- configurations ----
put("$root/manual.smbpasswd", RPCH::NTLM::smbpasswd_line(alice => 'secret'));
put("$root/farm.secret", 'f' x 32);
chmod 0600, "$root/farm.secret";
my %frame = (
    ''       => ['', ''],
    location => ["<Location /framed>\nSetHandler rpcproxy\nRpcValidPorts *:1-65535\n", "\n</Location>\n"],
    ntlm     => ["<Location /framed>\nAuthType NTLM\nAuthName x\nAuthNtlmUserFile $root/manual.smbpasswd\nRequire valid-user\n", "\n</Location>\n"],
);
my $common = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" }
    grep { my $m = $_; -e "$modules/mod_$m.so" && slurp("$root/conf/modules.conf") !~ /\b${m}_module\b/ } qw(setenvif proxy proxy_http);
my $so = ($ENV{RPCPROXY_SO} // vars('top_dir') . '/build/mod_rpcproxy.so') =~ s{mod_rpcproxy\.so$}{mod_rpc_backend_auth.so}r;
$common .= "LoadModule rpc_backend_auth_module $so\n" if slurp("$root/conf/modules.conf") !~ /rpc_backend_auth_module/;
# All blocks of a page in one httpd; one that fails is then looked for.
my $httpd = RPCH::Httpd->new;
sub configtest { my ($blocks) = @_; return $httpd->configure($common . $blocks)->configtest }
for my $page (@pages) {
    my @blocks;
    while ($text{$page} =~ /^```apache ?(\w*)\n(.*?)^```$/msg) {
        my ($kind, $block) = ($1, $2);
        $frame{$kind} or fail("$page: there is no frame $kind"), next;
        $block =~ s{/etc/apache2/rpc\.users}{$root/conf/users}g;
        $block =~ s{/etc/apache2/rpc\.smbpasswd}{$root/manual.smbpasswd}g;
        $block =~ s{/etc/apache2/rpc-farm\.secret}{$root/farm.secret}g;
        $block =~ s{CustomLog logs/}{CustomLog $httpd->{dir}/}g;
        push @blocks, $frame{$kind}[0] . $block . $frame{$kind}[1];
    }
    next if !@blocks;
    # A directive of the main server may stand once in a page.
    my ($status, $said) = configtest(join '', @blocks);
    is($status, 0, "$page: configtest of " . @blocks . ' blocks') or do {
        diag $said;
        for my $block (@blocks) { my ($s, $m) = configtest($block); diag "$block\n$m" if $s }
    };
}
# The defaults are what may be written.
{
    my %defaults = map { $_ => 1 } map { $text{$_} =~ /^- \*\*Default:\*\* `((?:Rpc|AuthNtlm)\w+ .*)`$/mg } grep { /mod_/ } @pages;
    cmp_ok(scalar keys %defaults, '>=', 20, 'there are defaults');
    my ($status, $said) = configtest(join '', map { "$_\n" } sort keys %defaults);
    is($status, 0, 'each default is one that httpd takes') or diag $said;
}

# ---- commands ----
for my $page (@pages) {
    for my $command ($text{$page} =~ /^```sh\n(.*?)^```$/msg) {
        my $said = qx(bash -c '@{[ $command =~ s/'/'\\''/gr ]}' 2>&1);
        is($?, 0, "$page: $command") or diag $said;
        like($said, qr/8846f7eaee8fb117ad06bdd830b7586c/i, 'which is the hash') if $command =~ /md4/;
    }
}

# ---- variables ----
# SetEnvIf in a section knows the target; <If> knows the query.
my $server = server(echo => 1);
my $site = RPCH::Httpd->new;
my $log = qq(LogFormat "%{RPC_SERVER}e %{RPC_PORT}e %{RPC_TARGET}e %{RPC_BACKEND}e %{seen-port}e %{seen-if}e" manual\n)
        . qq(CustomLog $site->{dir}/manual_log manual\n);
$site->configure($common . $log . RPCH::Httpd->location(<<'CONF'))->start;
SetEnvIf RPC_PORT "^[0-9]+$" seen-port
<If "%{QUERY_STRING} =~ /:[0-9]+$/">
    SetEnvIf RPC_TARGET . seen-if
</If>
CONF
my $c = plain(port => $site->{port}, target => $server->target);
ok(eval { $c->connect; 1 }, 'a virtual connection') or diag $@;
$c->close;
my ($host, $to) = split /:/, $server->target;
ok($site->logs(qr/^$host $to $host:$to 127\.0\.0\.1\[$to\] 1 1$/m, 'manual_log'), 'its variables, in the log, SetEnvIf and <If>')
    or diag $site->log('manual_log');
$server->close;
done_testing;
