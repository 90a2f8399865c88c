package RPCH::Httpd;

# A private httpd, for a test that stops or restarts it or changes its configuration. Its folder is in
# the server root of the run. It ends with the object.

use strict;
use warnings;
use RPCH::File qw(put slurp);
use RPCH::Needs qw(modules);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Settle qw(children_of is_endpoint stop_by);
use RPCH::Test qw(build_dir vars);
use Scalar::Util ();
use Time::HiRes ();

my $serial = 0;
my %running;

# ARG: mpm, limits (text, default those of the run), conf (text), port.
sub new {
    my ($class, %arg) = @_;
    my $root = vars('serverroot');
    my $dir = "$root/private-$$-" . ++$serial;
    mkdir $dir or die "$dir: $!\n";
    my $self = bless { mpm => vars('mpm'), port => RPCH::Root::free_ports(1), conf => '', %arg,
                       dir => $dir, httpd => vars('httpd'), owner => $$ }, $class;
    $self->{limits} //= "Include $root/conf/limits.conf";
    $self->configure($self->{conf});
    return $self;
}

# Writes the configuration, for start() or a restart.
sub configure {
    my ($self, $conf) = @_;
    my $root = vars('serverroot');
    my ($user, $group) = (vars('user'), vars('group'));
    my $rights = $> == 0 ? "User $user\nGroup $group" : '';
    open my $fh, '>', "$self->{dir}/httpd.conf" or die "$self->{dir}: $!\n";
    print $fh <<"CONF";
Include $root/conf/mpm-$self->{mpm}.conf
Include $root/conf/modules.conf
ServerRoot $self->{dir}
ServerName localhost
Listen 127.0.0.1:$self->{port}
DefaultRuntimeDir $self->{dir}
PidFile $self->{dir}/httpd.pid
TypesConfig $root/conf/mime.types
DocumentRoot $root/htdocs
$rights
$self->{limits}
KeepAliveTimeout 30
ErrorLog $self->{dir}/error_log
LogLevel info rpcproxy:debug
LogFormat "%u \\"%r\\" %>s %B %I %O %{RPC_REASON}e" rpc
CustomLog $self->{dir}/access_log rpc
RpcTargetNetworks loopback
$conf
CONF
    close $fh or die "$self->{dir}: $!\n";
    return $self;
}

# A virtual host with TLS at PORT and these lines of configuration. Its certificate is the suite's.
sub tls_host {
    my ($class, $port, $lines) = @_;
    return "Listen 127.0.0.1:$port\n<VirtualHost 127.0.0.1:$port>\nServerName localhost\n" . $class->tls_lines . ($lines // '') . "\n</VirtualHost>\n";
}

# What has a server speak TLS with the suite's certificate.
sub tls_lines {
    my $conf = vars('serverroot') . '/conf';
    return "SSLEngine on\nSSLCertificateFile $conf/server.crt\nSSLCertificateKeyFile $conf/server.key\n";
}

# A location that relays to any port of 127.0.0.1, natively or through the endpoint.
sub location {
    my ($class, $more) = @_;
    my $users = vars('serverroot') . '/conf/users';
    return <<"CONF" . ($more // '') . "\n</Location>\n";
<Location /rpc/rpcproxy.dll>
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthUserFile $users
Require valid-user
RpcRequireTLS off
RpcValidPorts "127.0.0.1:1024-65535;tcp.contoso.test:1024-65535"
RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1
CONF
}

# A location for tests that include the samples of conf/: with it the samples relay to the loopback, over
# plain HTTP.
sub loosened_sample {
    my ($class) = @_;
    my $users = vars('serverroot') . '/conf/users';
    return <<"CONF";
<Location /rpc/rpcproxy.dll>
AuthUserFile $users
RpcRequireTLS off
RpcValidPorts 127.0.0.1:1024-65535
RpcTargetNetworks loopback
RpcProfile none
</Location>
CONF
}

# The text of conf/sites/FILE with these NAME => VALUE of its lines "Define".
sub site {
    my ($class, $file, %value) = @_;
    my $modules = modules();
    my $build = build_dir();
    my $text = slurp(vars('top_dir') . "/conf/sites/$file");
    for my $name (sort keys %value) {
        $text =~ s{^(?:# )?Define $name +.*(?:\\\n.*)?$}{Define $name "$value{$name}"}m or die "$file has no $name\n";
    }
    $text =~ s{ /usr/lib/apache2/modules/mod_rpc}{ $build/mod_rpc}g;
    $text =~ s{ /usr/lib/apache2/modules/}{ $modules/}g;
    return $text;
}

# Exit status, or else the signal that ended it, and messages of httpd with these arguments.
sub run {
    my ($self, @args) = @_;
    my $out = qx($self->{httpd} -f $self->{dir}/httpd.conf @args 2>&1);
    return ($? >> 8 || $? & 127, $out);
}
sub configtest { my $self = shift; return $self->run('-t') }

sub start {
    my ($self) = @_;
    unlink "$self->{dir}/told-to-end";
    my ($status, $out) = $self->run('-k start');
    die "httpd did not start: $out\n" . $self->log if $status;
    $running{ 0 + $self } = $self;
    Scalar::Util::weaken($running{ 0 + $self });
    wait_for('the private httpd', sub {
        $self->{pid} = $self->read_pid or return turn(0.02) && 0;
        return IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $self->{port});
    });
    return $self;
}

sub read_pid {
    my ($self) = @_;
    open my $fh, '<', "$self->{dir}/httpd.pid" or return;
    return (<$fh> // '') =~ /^(\d+)$/ ? $1 : undef;
}

sub signal {
    my ($self, $signal) = @_;
    $self->{reload} = { at => Time::HiRes::time(), old => { map { $_ => 1 } $self->children } } if $signal eq 'USR1';
    if ($signal !~ /^(?:TERM|HUP)$/) { kill $signal => $self->{pid} }
    else {
        turn(0.01) while $self->reloading;
        stop_by($signal, $self->{mpm}, $self->{pid}, sub { turn(0.01) }, $self->{port});
    }
    return $self;
}

# Has the parent still to make children after a graceful restart? It makes the last of them when nothing else
# has happened for a second, or when a signal ends this second: then that signal comes to children that begin
# (RPCH::Settle).
sub reloading {
    my ($self) = @_;
    my $reload = $self->{reload} or return;
    my ($count) = map { /^StartServers (\d+)/m } $self->{limits}, slurp(vars('serverroot') . '/conf/limits.conf');
    return Time::HiRes::time() < $reload->{at} + 3 && $count > grep { !$reload->{old}{$_} && !is_endpoint($_) } $self->children;
}

# Restarts gracefully, with the configuration CONF if it is given, and waits until the new generation
# runs and no child of the old one accepts connections: otherwise chance decides which one gets the next.
sub restart {
    my ($self, $conf) = @_;
    my $restarts = sub { return scalar(() = $self->log =~ /resuming normal operations/g) };
    my $before = $restarts->();
    my @old = grep { !is_endpoint($_) } $self->children;
    $self->configure($conf) if defined $conf;
    $self->signal('USR1');
    wait_for('the restart', sub { turn(0.02); $restarts->() > $before });
    wait_for('the old children to stop listening', sub { turn(0.02); !grep { $self->listens($_) } @old });
    return $self;
}

# Does this child have the listening socket?
sub listens {
    my ($self, $pid) = @_;
    open my $fh, '<', '/proc/net/tcp' or return;
    my %inode = map { my @f = split; $f[3] eq '0A' && $f[1] =~ /:(\w+)$/ && hex $1 == $self->{port} ? ("socket:[$f[9]]" => 1) : () } <$fh>;
    return scalar grep { $inode{ readlink // '' } } glob "/proc/$pid/fd/*";
}

# Waits until the parent has ended; all peers are served meanwhile.
sub wait_gone {
    my ($self, $timeout) = @_;
    wait_for('httpd to end', sub { turn(0.02); !kill 0, $self->{pid} }, $timeout);
    return 1;
}

# Process ids below the parent, of those that have not ended.
sub children { my ($self) = @_; return children_of($self->{pid}) }

sub threads {
    my ($class, $pid) = @_;
    return scalar(() = glob "/proc/$pid/task/*");
}

sub log {
    my ($self, $name) = @_;
    open my $fh, '<', "$self->{dir}/" . ($name // 'error_log') or return '';
    local $/;
    return scalar <$fh> // '';
}

# Waits for a line in a log of this httpd. True when it has come.
sub logs {
    my ($self, $re, $name) = @_;
    return eval { wait_for("$re in the log", sub { turn(0.02); $self->log($name) =~ $re }) } ? 1 : 0;
}

# When an object is freed, or the test ends, its server is told to end, and the test goes on. The run waits
# for it later (RPCH::Root), because httpd's parent looks for its children at longer and longer intervals.
# It stops gracefully, which a child can bear at any moment.
sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid};
    delete $running{ 0 + $self };
    return if $self->{owner} != $$ || !$pid || !kill 0, $pid;
    put("$self->{dir}/told-to-end");
    kill WINCH => $pid;
    return;
}

sub DESTROY { my ($self) = @_; local ($?, $@, $!); $self->stop; return }

END { local ($?, $@, $!); $_->stop for grep { defined } values %running }

1;
