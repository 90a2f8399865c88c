# Guards beside this module, as doc/neighbours.md sets them up: mod_evasive counts requests, AppArmor reads the rules,
# and the policy of SELinux says what httpd may do. The machine of the tests runs neither of the last two: a parser
# and a compiled policy are asked. Not part of the suite, since these packages are large: make test-guards.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Manual qw(blocks commands);
use RPCH::Needs qw(missing modules);
use RPCH::Test;

my $root = vars('serverroot');
my $modules = modules();
my $policy = '/usr/share/selinux/default';
$ENV{PATH} .= ':/usr/sbin:/sbin';
my @missing = missing("$policy/apache.pp.bz2", qw(mod_evasive20.so apparmor_parser semodule_link semodule_expand sepol_check_access));
BAIL_OUT("not installed: @missing") if @missing;
my %section = slurp('doc/neighbours.md') =~ /^## (.*?)\n(.*?)(?=^## |\z)/msg;

# The output of a program; $? is its exit status. (The tests' own library is not for it.)
sub said { my ($command) = @_; return scalar qx(LD_PRELOAD= $command 2>&1) }

subtest 'mod_evasive' => sub {
    my $server = server(echo => 1);
    my ($cure) = map { $_->{text} } grep { $_->{kind} eq 'apache' } blocks($section{mod_evasive});
    $cure =~ s/192\.0\.2\./127.0.0./;
    my $httpd = RPCH::Httpd->new;
    my $conf = sub { return "LoadModule evasive20_module $modules/mod_evasive20.so\nDOSLogDir $httpd->{dir}\n" . join '', RPCH::Httpd->location, @_ };
    my $status = sub {
        my $c = plain(port => $httpd->{port}, target => $server->target);
        $c->open_out;
        $c->send_a1;
        my $answer = $c->out->head->{status};
        $c->close;
        return $answer;
    };
    $httpd->configure($conf->())->start;
    my ($refused) = grep { $status->() == 403 } 1 .. 200;    # each child counts for itself
    ok($refused, 'with its defaults it refuses channels: 403');
    ok($httpd->logs(qr/\[evasive20:error\].* client denied by server configuration/), 'the error log has a line of evasive20');
    ok($httpd->logs(qr/RPC0001: RPC_OUT_DATA refused: not-authorized: .*user "", client 127\.0\.0\.1/), 'and one of RPC0001, with an empty user');
    for (['both numbers', $cure =~ s/^\s*DOSWhitelist.*\n//mr], ['the address', $cure =~ s/^\s*DOS\w+Count.*\n//mgr]) {
        my ($what, $lines) = @$_;
        $httpd->restart($conf->($lines));
        is(join(' ', map { $status->() } 1 .. 40), join(' ', (200) x 40), "with $what as the manual has it none of forty is refused");
    }
    $server->close;
};

subtest 'AppArmor' => sub {
    my ($rules) = map { $_->{text} } grep { $_->{kind} eq 'text' } blocks($section{AppArmor});
    my $parse = sub {
        put("$root/profile", "include <tunables/global>\nprofile httpd /usr/sbin/apache2 {\n$_[0]}\n");
        return said("apparmor_parser --skip-kernel-load --skip-cache --debug $root/profile");
    };
    my $parsed = $parse->($rules);
    is($?, 0, 'the parser takes the rules') or diag $parsed;
    my %may = reverse $parsed =~ /^Mode:\s+([a-z]+):\S+\s+Name:\s+\((\S+)\)/mg;
    cmp_ok(scalar keys %may, '>=', 10, 'it has understood the files');
    like($parsed, qr/^Network: inet \{ stream dgram \} inet6 \{ stream dgram \}/m, 'and the network');
    is($may{"/usr/lib/apache2/modules/$_"}, 'rm', "$_ may be loaded") for map { s{.*/}{}r } glob 'build/mod_*.so';
    my ($socket) = slurp('httpd/endpoint_parent.c') =~ /"(rpcproxy\.sock)"/;
    is($may{"/run/apache2/$socket.*"}, 'rwa', 'the socket of the endpoint process has its default name, and a number');
    my ($library) = map { slurp($_) } glob '/usr/lib/*/libwbclient.so.0';
    like($library, qr{\0/run/samba/winbindd\0}, 'the library of winbind looks for the socket there');
    is($may{'/run/samba/winbindd/pipe'}, 'rwa', 'and may use it');
    $parse->($rules =~ s/,$//mr);
    isnt($?, 0, 'rules that are wrong would have been noticed');
};

# The policy of Debian is the reference, from which Red Hat's family has made its own.
subtest 'SELinux' => sub {
    my @commands = map { commands($_) } grep { $_->{kind} eq 'console' } blocks($section{SELinux});
    said("bzcat $policy/$_.pp.bz2 >$root/$_.pp") for qw(base apache samba);
    my $linked = said("semodule_link -o $root/linked.pp $root/base.pp $root/apache.pp $root/samba.pp");
    is($?, 0, 'the policy of httpd, of Samba, and the base') or diag $linked;
    my $linked_policy = slurp("$root/linked.pp");
    my $expand = sub {      # with these booleans on: each is a number, its state, the length of its name, the name
        my ($name, @booleans) = @_;
        my $text = $linked_policy;
        for my $boolean (@booleans) {
            my $entry = pack('V', length $boolean) . $boolean;
            is($text =~ s/\0{4}(?=\Q$entry\E\0)/pack 'V', 1/e, 1, "there is a boolean $boolean");
        }
        put("$root/$name.pp", $text);
        my $out = said("semodule_expand $root/$name.pp $root/$name.policy");
        is($?, 0, "the policy $name") or diag $out;
    };
    my $may = sub {
        my ($name, $class, $permission, $type) = @_;
        my $out = said("sepol_check_access $root/$name.policy system_u:system_r:httpd_t:s0 system_u:object_r:$type:s0 $class $permission");
        return $out =~ /\b(allowed|denied)\b/ ? $1 : $out;
    };
    $expand->('default');
    $expand->('manual', map { /^setsebool -P (\w+) 1$/ } @commands);
    my @servers = qw(epmap_port_t unreserved_port_t http_port_t redis_port_t);
    is($may->('default', 'tcp_socket', 'name_connect', $_), 'denied', "$_: httpd may not connect") for @servers;
    is($may->('manual', 'tcp_socket', 'name_connect', $_), 'allowed', "$_: it may with what the manual sets") for @servers;
    my ($type) = map { /^semanage port -a -t (\w+) -p tcp \d+$/ } @commands;
    is($may->('default', 'tcp_socket', 'name_bind', 'unreserved_port_t'), 'denied', 'httpd may not listen at any port');
    is($may->('default', 'tcp_socket', 'name_bind', $type), 'allowed', "it may at one of $type");
    is($may->('default', 'file', $_, 'httpd_config_t'), 'allowed', "files below /etc/httpd, also a keytab: $_") for qw(read lock);
    is($may->('default', 'sock_file', $_, 'httpd_runtime_t'), 'allowed', "a socket in /run/httpd: $_") for qw(create write unlink);
    is($may->('default', 'sock_file', 'write', 'winbind_var_run_t'), 'allowed', 'the socket of winbind');
};
done_testing;
