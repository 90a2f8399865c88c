# The manual: httpd takes each configuration in doc/*.md, commands are ones that a shell takes, and those
# that need nothing run; each link leads somewhere; and what is quoted of logs and programs is what these
# say. (t/76-fronts.t runs the samples of front ends, t/93-first-steps.t the pages of sites.)

use strict;
use warnings;
use Test::More;
use Text::ParseWords qw(shellwords);
use RPCH::CA;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Manual qw(blocks commands);
use RPCH::Needs qw(modules);
use RPCH::NTLM;
use RPCH::Root;
use RPCH::Test;

my @pages = RPCH::Manual::pages();
cmp_ok(scalar @pages, '>=', 20, 'there are pages');
my %text = map { $_ => slurp($_) } @pages, 'doc/architecture.md', 'doc/protocol.md';
my $root = vars('serverroot');
my $modules = modules();
my $build = build_dir();

# ---- links ----
sub anchors { my ($file) = @_; return map { lc s/[^\w -]//gr =~ s/ /-/gr } $text{$file} =~ /^#+ (.*)$/mg }
for my $page (@pages) {
    my @astray;
    for my $link ($text{$page} =~ /\]\(([^)\s]+)\)/g) {
        my ($file, $anchor) = $link =~ /^([^#]*)#?(.*)$/;
        $file = length $file ? "doc/$file" : $page;
        next if $file =~ /\.png$/ && -e $file;
        push @astray, $link if !$text{$file} || (length $anchor && !grep { $_ eq $anchor } anchors($file));
    }
    is("@astray", '', "$page: its links");
    my $name = $page =~ s{^doc/}{}r;
    ok($name eq 'index.md' || $text{'doc/index.md'} =~ /\(\Q$name\E\)/, "$page: the index has it");
}

# ---- samples ----
{
    my %named = map { $_ => 1 } map { $text{$_} =~ m{(?<![\w/])(conf/[a-z][\w./-]*\w)}g } @pages;
    cmp_ok(scalar keys %named, '>=', 10, 'samples are named');
    is(join(' ', grep { !-e } sort keys %named), '', 'each is there');
    like($text{"doc/$_"} =~ s/\s+/ /gr, qr{conf/.*/usr/share/doc/libapache2-mod-rpcproxy/examples/}, "$_ says where") for qw(index.md first-steps.md);
}

# ---- configurations ----
put("$root/manual.smbpasswd", RPCH::NTLM::smbpasswd_line(alice => 'secret'));
put("$root/farm.secret", 'f' x 32);
chmod 0600, "$root/farm.secret";
my $ca = RPCH::CA->new('Staff');
my %path = ('rpc.users' => "$root/conf/users", 'rpc.groups' => "$root/conf/users", 'rpc.smbpasswd' => "$root/manual.smbpasswd", 'rpc-farm.secret' => "$root/farm.secret",
            'rpc.keytab' => "$root/farm.secret", 'rpc-ca.crt' => $ca->certificate, 'rpc-ca.crl' => $ca->revocations,
            'mail.pem' => "$root/conf/server.crt", 'mail.key' => "$root/conf/server.key", 'ca-certificates.crt' => "$root/conf/server.crt");
my %frame = (
    ''       => ['', ''],
    location => ["<Location /framed>\nSetHandler rpcproxy\nRpcValidPorts *:1-65535\n", "\n</Location>\n"],
    ntlm     => ["<Location /framed>\nAuthType NTLM\nAuthName x\nAuthNtlmUserFile $root/manual.smbpasswd\nRequire valid-user\n", "\n</Location>\n"],
    vhost    => ["<VirtualHost 127.0.0.1:1>\nServerName framed\n", "\n</VirtualHost>\n"],
);
my $common = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" }
    grep { my $m = $_; -e "$modules/mod_$m.so" && slurp("$root/conf/modules.conf") !~ /\b${m}_module\b/ }
    qw(setenvif headers authz_groupfile proxy proxy_http slotmem_shm proxy_balancer auth_gssapi);
$common .= "LoadModule rpc_backend_auth_module $build/mod_rpc_backend_auth.so\n" if slurp("$root/conf/modules.conf") !~ /rpc_backend_auth_module/;
# All blocks of a page in one httpd; one that fails is then looked for.
my $httpd = RPCH::Httpd->new;
sub configtest { my ($blocks) = @_; return $httpd->configure($common . $blocks)->configtest }
for my $page (@pages) {
    my @found;
    for my $block (grep { $_->{kind} eq 'apache' && $_->{info} !~ /^edit / } blocks($text{$page})) {
        my ($kind, $text) = @$block{qw(info text)};
        $frame{$kind} or fail("$page: there is no frame $kind"), next;
        SKIP: {
            skip "no mod_auth_gssapi: $page", 1 if $text =~ /^\s*Gssapi/m && $common !~ /auth_gssapi/;
            $text =~ s{/etc/(?:apache2|ssl/certs|ssl/private)/([\w.-]+)}{$path{$1} // "/no/$1"}ge;
            $text =~ s{CustomLog logs/}{CustomLog $httpd->{dir}/}g;
            $text =~ s{<VirtualHost \*:443>}{<VirtualHost 127.0.0.1:1>}g;
            $text =~ s{^RpcEndpointListen \K\S+}{"127.0.0.1:" . RPCH::Root::free_ports(1)}mge;
            push @found, $frame{$kind}[0] . $text . $frame{$kind}[1];
        }
    }
    next if !@found;
    # A directive of the main server may stand once in a page.
    my ($status, $said) = configtest(join '', @found);
    is($status, 0, "$page: configtest of " . @found . ' blocks') or do {
        diag $said;
        for my $block (@found) { my ($s, $m) = configtest($block); diag "$block\n$m" if $s }
    };
}
# The defaults are what may be written, and the installed file names the same.
{
    my %defaults = map { $_ => 1 } map { $text{$_} =~ /^- \*\*Default:\*\* `((?:Rpc|AuthNtlm)\w+ .*)`$/mg } grep { /mod_/ } @pages;
    cmp_ok(scalar keys %defaults, '>=', 20, 'there are defaults');
    my ($status, $said) = configtest(join '', map { "$_\n" } sort keys %defaults);
    is($status, 0, 'each default is one that httpd takes') or diag $said;
    my $seconds = sub { return $_[0] =~ s/\b(\d+)(min|h|s)\b/$1 * { min => 60, h => 3600, s => 1 }->{$2}/ger };
    my %same = map { $seconds->($_) => 1 } keys %defaults;
    my @other = grep { !$same{ $seconds->($_) } } slurp('conf/mods-available/rpcproxy.conf') =~ /^#(Rpc\w+ .*)$/mg;
    is("@other", 'RpcMaxUnpairedChannels 5000 RpcMaxUnpairedPerUser 500', 'mods-available/rpcproxy.conf has these defaults, and two that follow from another');
}
# What a page repeats of a sample is the same.
{
    my ($rule) = slurp('conf/rpcproxy.conf') =~ /^(<IfModule security2_module>.*?^<\/IfModule>)/ms;
    like($text{'doc/neighbours.md'}, qr/^\Q$rule\E$/m, 'the rule for mod_security is that of conf/rpcproxy.conf');
}

# ---- commands ----
for my $page (@pages) {
    for my $command (map { $_->{text} } grep { $_->{kind} eq 'sh' } blocks($text{$page})) {
        my $said = qx(bash -c '@{[ $command =~ s/'/'\\''/gr ]}' 2>&1);
        is($?, 0, "$page: $command") or diag $said;
        like($said, qr/8846f7eaee8fb117ad06bdd830b7586c/i, 'which is the hash') if $command =~ /md4/;
    }
}
# Those that change a system: their programs and options exist, and what they name comes with us, or with httpd.
my %options = (rpcping => scalar qx($build/rpcping --help), curl => scalar qx(LD_PRELOAD= curl --help all 2>&1));
my %known = map { $_ => 1 } qw(apachectl systemctl chmod chgrp mkdir grep openssl klist kinit haproxy fail2ban-regex fail2ban-client setsebool semanage adduser samba-tool);
sub option_exists { my ($program, $option) = @_; $option =~ s/=.*//; return $options{$program} =~ /(?:^|[\s,])\Q$option\E(?:[\s,]|$)/m }
my ($version) = slurp('debian/changelog') =~ /^mod-rpcproxy \((\S+)\)/;
my %check = (
    rpcping => sub { return grep { /^-/ && !option_exists(rpcping => $_) } @_ },
    curl    => sub { return grep { /^-/ && !option_exists(curl => $_) } @_ },
    cp      => sub { my ($from) = @_; my $file = $from =~ s{^/usr/share/doc/libapache2-mod-rpcproxy/examples/}{conf/}r; return -e $file ? () : $from },
    a2enmod => sub { return grep { !-e "$modules/mod_$_.so" && !-e "$build/mod_$_.so" } @_ },
    a2enconf => sub { my $page = pop; return grep { my $name = $_; $page !~ m{/conf-available/} || $page !~ m{/\Q$name\E\.conf} } @_ },
    a2ensite => sub { my $page = pop; return grep { my $name = $_; $name ne 'default-ssl' && $page !~ m{/sites-available/\Q$name\E\.conf} } @_ },
    apt      => sub { return grep { !/^(?:install|\.\/(?:libapache2-mod-rpcproxy|rpcping)_\Q$version\E_amd64\.deb|libapache2-mod-auth-gssapi)$/ } @_ },
    htpasswd => sub { return grep { /^-/ && !/^-[Bcv]$/ } @_ },
);
for my $page (@pages) {
    my @wrong;
    my @commands = map { commands($_) } grep { $_->{kind} eq 'console' } blocks($text{$page});
    for my $command (@commands) {
        my ($program, @words) = shellwords($command);
        my $check = $check{$program} // ($known{$program} ? sub { return } : sub { return "program $program" });
        push @wrong, map { "$_ in: $command" } $check->(@words, $program =~ /^a2en(?:conf|site)$/ ? $text{$page} : ());
    }
    # Also those in a row of a table or in a sentence
    push @wrong, map { "$_->[0] in: $_->[1]" } map { my $line = $_; map { [$_, $line] } $check{rpcping}->(split ' ', $line) } $text{$page} =~ /`rpcping ([^`]*)`/g;
    is(join("\n", @wrong), '', "$page: its " . @commands . ' commands');
}

# ---- what is quoted ----
my %message = $text{'doc/messages.md'} =~ /^\| (RPC\d{4}) \| [^|]+ \| ((?:[^|\\]|\\.)+) \|/mg;
my %reason = map { $_ => 1 } $text{'doc/reasons.md'} =~ /^\| ([a-z-]+) \|/mg;
cmp_ok(scalar keys %message, '>=', 140, 'there are messages');
sub words_in { my ($text) = @_; return join ' ', $text =~ /"((?:\\.|[^"\\])*)"/g }
my $sources = join "\n", map { slurp($_) =~ s/"\s*\n\s*"//gr } glob '*.c {auth,base,delegate,endpoint,firewall,httpd,io,ntlm,proxy,shared,target,tools,wire}/*.[ch]';
# What others say, as the pages quote it: httpd and its modules, libcurl, OpenSSL, FreeRDP, Samba, impacket.
# t/94-tickets.t hears the most important ones from the programs themselves.
my @foreign = ('Could not resolve host', 'Connection refused', 'Failed to connect to', 'Recv failure: Connection reset by peer', 'Permission denied', 'SSL certificate problem', 'SSL: no alternative certificate subject name matches', 'fault',
    'authentication failure', 'Password Mismatch', 'not found', 'Could not open password file', 'client used wrong authentication scheme', 'authorization failure',
    'GSS ERROR', 'GSS ERROR ... gss_accept_sec_context()', 'not found in keytab', 'not found in keytab; keytab is likely out of date', 'SPNEGO cannot find mechanisms to negotiate', 'Clock skew too great', 'NO AUTH DATA',
    'peer did not return a certificate', 'unable to get local issuer certificate', 'certificate revoked', 'CRL has expired', 'cannot perform post-handshake authentication',
    'http_response_recv: Retries exceeded', 'error! Status Code: 503', 'rpc_channel_read: Out of retries', 'tsg_check failure',
    'Server response: Access denied', 'Server response: RPC error', 'roh_recv_CONN_C2_done: Error receiving PDU', 'Basic authentication failed in RPC_IN_DATA channel',
    'NTLM authentication failed in RPC_IN_DATA channel', 'No supported auth offered by URL', 'Address already in use', "Invalid command 'RpcValidPorts'", "Invalid command 'SSLEngine'", 'RPC Error:');
my %foreign = map { $_ => 1 } @foreign;
for my $page (qw(doc/troubleshooting.md doc/auth-basic.md doc/auth-ntlm.md doc/auth-kerberos.md doc/auth-certificates.md doc/neighbours.md)) {
    my (@wrong, %ids);
    for my $row ($text{$page} =~ /^\| (.*) \|$/mg) {
        my @cells = split / \| /, $row;
        for my $cell (@cells[0 .. ($#cells > 1 ? 1 : 0)]) {
            my ($id) = $cell =~ /\b(RPC\d{4})\b/;
            push @wrong, "no message $_" for grep { !$message{$_} } $cell =~ /\b(RPC\d{4})\b/g;
            push @wrong, map { "\"$_\"" } grep { !$foreign{$_} && index($sources, $_) < 0 } grep { !/^(?:trying to connect|disconnected)$/ } $cell =~ /"([^"]+)"/g;
            push @wrong, map { "no reason $_" } grep { !$reason{$_} } map { split /,(?: or)? / } $cell =~ /\bRPC000[125] ((?:[a-z]+(?:-[a-z]+)+(?:, (?:or )?)?)+)/g;
            push @wrong, "no reason $1" if $cell =~ /\breason=([a-z-]+)/ && !$reason{$1};
        }
    }
    is(join("\n", @wrong), '', "$page: what it quotes is what is said");
}
# Numbers in sentences are those of the sources. (What a directive's default is t/unit/manual_test.c knows.)
for my $case (['delegation', 'keeps up to 1,000 tickets', 'TICKETS_MAX 1000'],
              ['delegation', 'tickets, each for an hour', 'KEPT_MAX apr_time_from_sec(3600)'],
              ['delegation', 'waits five seconds for the KDC', 'ANSWER_SECONDS 5'],
              ['delegation', 'Eight requests of a child', '.at_once = 8, .patience = apr_time_from_sec(5), .pause = apr_time_from_sec(5)'],
              ['log', 'At most 8 MiB of lines of the error log', 'ROOM ((size_t)8 << 20)'],
              ['log', 'and 16 MiB of those of the access logs', 'ROOM ((size_t)16 << 20)'],
              ['access', 'up to ten for a channel', 'REFUSED_LOGGED 10'],
              ['status', 'the last 100 failures', 'RPC_MISHAPS_SHOWN 100'],
              ['auth-ntlm', 'for a day', 'KNOWN_FOR (24 * 60 * 60)'],
              ['auth-ntlm', 'off by more than 30 minutes', 'SKEW_MAX apr_time_from_sec(30 * 60)'],
              ['machines', 'each machine acts for itself after five seconds', 'ALIVE 5'],
              ['mod_rpcproxy', 'is avoided for 2 to 60 seconds', "AVOID_FIRST apr_time_from_sec(2)\n#define AVOID_MAX apr_time_from_sec(60)"]) {
    my ($page, $says, $has) = @$case;
    like($text{join '', 'doc/', $page, '.md'} =~ s/\s+/ /gr, qr/\Q$says\E/, "$page: \"$says\"");
    ok(index($sources, $has) >= 0, "... as the sources have it: $has");
}
# Tables are those of the sources: interfaces and profiles, and the bounds of the benchmark.
{
    my ($named) = $text{'doc/access.md'} =~ /The names are:\n\n(.*?)\n\n/ms;
    my @named = map { split } $named =~ /^ {4}(?:[A-Z]?[\w ]*?\S  +| {16})(\S.*)$/mg;
    my @known = slurp('firewall/interfaces.c') =~ /^    \{ "([\w-]+)", "[0-9a-f-]{36}"/mg;
    is(join(' ', sort @named), join(' ', sort @known), 'access: its ' . @known . ' interfaces');
    my %profiles;
    while ($text{'doc/access.md'} =~ /^ {4}RpcProfile (\w+) +(.*(?:\n {10,}.*)*)/mg) {
        my ($name, $rules) = ($1, $2);
        for my $rule (split /[,;] /, $rules =~ s/\s+/ /gr =~ s/; nspi and rfr on 6004.*//r) {
            my ($ports, $interfaces) = $rule =~ /^([\d-]+(?: and [\d-]+)*) (.*)/;
            $profiles{"$name $_ $interfaces"} = 1 for split / and /, $ports // "?$rule";
        }
    }
    my %built = map { $_ => 1 } map { "$_->[0] $_->[1]" } map { [split /" *,\s*"/] } slurp('firewall/rules.c') =~ /^    \{ "(\w+",\s+"[\d-]+ [^"]+)" \}/mg;
    is_deeply(\%profiles, \%built, 'access: its profiles');
    my $bench = slurp('bench/run.pl');
    my @wrong;
    for my $row (grep { $_->[3] =~ /^\w+, "/ } RPCH::Manual::rows($text{'doc/sizing.md'}, 'Figures')) {
        my ($bound, $part, $label) = ($row->[2] =~ /^([<>]= [\d.]+|\d+)/, $row->[3] =~ /^(\w+), "(.*)"/);
        my ($body) = $bench =~ /^sub \Q$part\E \{(.*?)^\}/ms;
        $label =~ s/9000/\$n/;
        push @wrong, "@$row" if ($body // '') !~ /(['"])\Q$label\E\1, \d(?:, (?:\$n >= 1000 \? )?bound\('\Q$bound\E'\))/;
    }
    is(join("\n", @wrong), '', 'sizing: its bounds are those of bench/run.pl');
}
# The values of the registry are in the result, as they are.
{
    my ($ports) = $text{'doc/windows.md'} =~ /^ *ValidPorts +REG_SZ +(\S+)$/m;
    my ($sequences) = $text{'doc/windows.md'} =~ /REG_MULTI_SZ +(\S+)$/m;
    like($text{'doc/windows.md'}, qr/^RpcValidPorts +"\Q$ports\E;/m, 'windows: ValidPorts');
    like($text{'doc/windows.md'}, qr/^RpcNspiProtocolSequences \Q$sequences\E$/m, 'windows: NSPI interface protocol sequences');
}
# What it says of files beside it.
for my $case (['sizing', 'sets the limit to 8192 files', '/usr/sbin/apache2ctl', 'ulimit -n 8192'],
              ['sizing', 'ulimit -n 65536', 'conf/systemd/apache2.service.d/rpcproxy.conf', 'APACHE_ULIMIT_MAX_FILES=ulimit -n 65536'],
              ['sizing', 'conf/rpcproxy.conf switches that off', 'conf/rpcproxy.conf', 'AllowOverride None'],
              ['publishing', 'rpcproxy.conf is not for them', 'conf/rpcproxy.conf', '<LocationMatch "(?i)^/rpc'],
              ['delegation', 'udp_preference_limit = 1', 't/lib/RPCH/KDC.pm', 'udp_preference_limit = 1'],
              ['neighbours', 'conf/rpcproxy.conf has a line for', 'conf/rpcproxy.conf', 'RedirectMatch 200']) {
    my ($page, $says, $file, $has) = @$case;
    like($text{join "", "doc/", $page, ".md"} =~ s/\s+/ /gr, qr/\Q$says\E/, "$page: \"$says\"");
    ok(!-e $file || index(slurp($file), $has) >= 0, "... as $file has it");
}
# Whole lines of the log, with their ids.
for my $page (grep { !/messages\.md$/ } @pages) {
    my @wrong;
    while ($text{$page} =~ /^    (?:\[[^\n]*\] )?(RPC\d{4}): ((?:[^\n]+)(?:\n    (?!RPC)[^\n]+)*)/mg) {
        my ($id, $line) = ($1, $2);
        $line =~ s/\s*\n\s*/ /g;
        my $like = join '.+?', map { quotemeta } split /(?:[A-Z]+(?: [A-Z]+)*(?::[A-Z]+)?|\bN\b)/, $message{$id} // 'no message';
        push @wrong, "$id: $line" if $line !~ /\.\.\.$/ && $line !~ /^$like/;
    }
    is(join("\n", @wrong), '', "$page: its lines of the log") if $text{$page} =~ /^    .*RPC\d{4}: /m;
}

# ---- who may see the page ----
# It names users and addresses, so no sample opens it to everybody.
{
    my ($there, @open) = (0);
    for my $file (sort keys %text, 'README', grep { -f && -T } map { (glob("$_/*"), glob("$_/*/*")) } 'conf') {
        my $sample = ($text{$file} // slurp($file)) =~ s/^#[ \t]?//mgr;
        while ($sample =~ /^[ \t]*(<(Location|LocationMatch|Files)\b[^\n]*>.*?^[ \t]*<\/\2>)/msg) {
            my $section = $1;
            next if $section !~ /SetHandler rpcproxy-status/;
            $there++;
            push @open, "$file: $section" if $section !~ /^[ \t]*Require (?:local|ip|host|user|group|valid-user)\b/m || $section =~ /Require all granted/;
        }
    }
    cmp_ok($there, '>=', 2, 'samples of the status page');
    is(join("\n", @open), '', 'each has a Require');
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
