package Bench::Servers;

# What is measured: httpd with mod_rpcproxy and HAProxy, both in front of the same two servers. "server" is
# the one that all measurements use and that may be killed, "steady" is the probe's own.
#
#   my $servers = Bench::Servers->new(
#       mpm => 'event', workers => 25,
#       crowd => 1000,              virtual connections at most
#       processes => 1,             of each proxy, to which the kernel deals the connections; prefork has one
#                                   for each worker anyway
#       sources => 0,               addresses that the proxies connect from; 0: as they like
#       hash => '{SHA}...',         of the password
#       cache => 0,                 with mod_authn_socache
#       extra => '',                more lines for httpd.conf
#       upstream => 0,              another httpd that is an RPC proxy, behind both at port "relay", by TLS
#       only => 'httpd',            the other one, haproxy, is not needed
#       under => sub { ... });      the command that the proxies run under
#   $servers->proxy('tls', 'httpd') tells rpcload of a proxy
#   $servers->stop                  happens, too, when the object goes

use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use List::Util qw(max);
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

my $folder = dirname(__FILE__) . '/../..';
my $patience = 60;      # seconds

sub new {
    my ($class, %o) = @_;
    my %default = (mpm => 'event', workers => 25, crowd => 1000, processes => 1, sources => 0, extra => '', under => sub { });
    my $self = bless { %default, pids => {}, %o }, $class;

    $self->{dir} = tempdir('rpcproxy-bench.XXXXXX', TMPDIR => 1);
    chmod 0755, $self->{dir};
    $self->make_files;
    my $ok = eval { $self->start; 1 };
    return $self if $ok;
    my $why = $@;
    $self->show_logs;
    die $why;
}

sub make_files {
    my ($self) = @_;
    my $dir = $self->{dir};

    system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
           . "-keyout $dir/key.pem -out $dir/cert.pem 2>$dir/openssl.log && cat $dir/cert.pem $dir/key.pem >$dir/server.pem") == 0
        or die "openssl cannot make a certificate\n";
    # A hash that costs next to nothing: this is no benchmark of bcrypt.
    my $hash = $self->{hash} // '{SHA}' . `printf bench | openssl dgst -sha1 -binary | openssl base64`;
    $self->write('users', "bench:$hash\n");
    $self->write('extra.conf', "$self->{extra}\n");
}

sub write {
    my ($self, $name, $text) = @_;

    open my $f, '>', "$self->{dir}/$name" or die "$self->{dir}/$name: $!\n";
    print $f $text;
    close $f or die "$self->{dir}/$name: $!\n";
}

# ---- starting ----

sub start {
    my ($self) = @_;
    my @ports = free_ports(14);
    my $apxs = $ENV{APXS} // first_in_path('apxs', 'apxs2');
    my $build = $ENV{BUILD} // 'build';

    $self->{load} = "$build/rpcload";
    @$self{qw(server_port steady_port)} = @ports[12, 13];
    $self->start_server($_) for qw(server steady);
    my $threads = int($self->{workers} / $self->{processes});
    my %env = (DIR => $self->{dir}, MPM => $self->{mpm},
               CHILDREN => $self->{processes}, THREADS => $threads,
               WORKERS => $self->{mpm} eq 'prefork' ? $self->{workers} : $threads * $self->{processes},
               BUILD => absolute($ENV{ENGINE} // $build), MODULES => query($apxs, 'LIBEXECDIR'),
               MAXCONN => int(2 * $self->{crowd} * ($self->{processes} == 1 ? 1 : 1.25 / $self->{processes})) + 300,
               SERVER_PORT => $self->{server_port}, STEADY_PORT => $self->{steady_port},
               $self->sources, $self->relays(@ports[7 .. 9]));
    my $httpd = $ENV{HTTPD} // query($apxs, 'SBINDIR') . '/' . query($apxs, 'progname');
    @$self{qw(httpd_program ports)} = ($httpd, { httpd => { tls => $ports[0], plain => $ports[1], firewall => $ports[2],
                                        steady_tls => $ports[0], steady_plain => $ports[1], relay => $ports[7] },
                                       haproxy => { tls => $ports[3], plain => $ports[4],
                                        steady_tls => $ports[5], steady_plain => $ports[6], relay => $ports[8] },
                                       upstream => { tls => $ports[9], plain => $ports[10], firewall => $ports[11] } });
    $self->start_upstream(\%env) if $self->{upstream};
    $self->start_proxy('httpd', \%env, $httpd, '-f', "$self->{dir}/httpd.conf", '-D', 'FOREGROUND',
                       $> == 0 ? ('-D', 'AsRoot') : (), $self->{cache} ? ('-D', 'Cache') : ());
    $self->start_proxy('haproxy', \%env, several($self->{processes}, 'haproxy', '-db', '-f', "$self->{dir}/haproxy.cfg"));
    $self->await_children if $self->{pids}{httpd};
}

# A command that runs COMMAND so many times, until it is told to end. HAProxy's processes share a port.
sub several {
    my ($n, @command) = @_;

    return @command if $n == 1;
    return ('sh', '-c', 'n=$1; shift; trap \'kill $pids; wait; exit\' TERM; '
                      . 'while [ $n -gt 0 ]; do "$@" & pids="$pids $!"; n=$((n - 1)); done; wait', 'sh', $n, @command);
}

# The addresses that both proxies are to connect to the server from, in turn.
sub sources {
    my ($self) = @_;
    my @addresses = map { '127.0.0.' . ($_ + 1) } 1 .. $self->{sources};
    my $server = "127.0.0.1:$self->{server_port}";

    return (SOURCES => '', SERVERS => "server server $server") if !@addresses;
    return (SOURCES => "RpcSourceAddress @addresses",
            SERVERS => join "\n    ", map { "server from-$_ $server source $_" } @addresses);
}

# What httpd and HAProxy add to their configuration to go on to the port UPSTREAM, each verifying
# who that is. Credentials pass through both.
sub relays {
    my ($self, $httpd, $haproxy, $upstream) = @_;
    my $dir = $self->{dir};

    return (HTTPD_RELAY => '', HAPROXY_RELAY => '') if !$self->{upstream};
    return (HTTPD_RELAY => <<"HTTPD", HAPROXY_RELAY => <<"HAPROXY");
LoadModule proxy_module \${BENCH_MODULES}/mod_proxy.so
LoadModule proxy_http_module \${BENCH_MODULES}/mod_proxy_http.so
Listen 127.0.0.1:$httpd
<VirtualHost *:$httpd>
    SSLEngine On
    SSLProxyEngine On
    SSLProxyVerify require
    SSLProxyCACertificateFile "$dir/cert.pem"
    <LocationMatch "(?i)^/rpc(withcert)?/rpcproxy\\.dll\$">
        RpcBackend localhost https://localhost:$upstream
        AuthType None
        Require all granted
    </LocationMatch>
</VirtualHost>
HTTPD
frontend relay
    mode http
    option http-no-delay
    bind "127.0.0.1:$haproxy" ssl crt "$dir/server.pem"
    default_backend upstream
backend upstream
    mode http
    option http-no-delay
    server upstream "127.0.0.1:$upstream" ssl verify required ca-file "$dir/cert.pem" verifyhost localhost
HAPROXY
}

# A child of it may serve all of both. It has a folder of its own, with the same files.
sub start_upstream {
    my ($self, $env) = @_;
    my $dir = "$self->{dir}/upstream";

    mkdir $dir;
    system('cp', map({ "$self->{dir}/$_" } qw(server.pem users)), $dir) == 0 or die "$dir cannot be filled\n";
    open my $f, '>', "$dir/extra.conf" or die "$dir/extra.conf: $!\n";
    my $conf = $self->fill('httpd.conf', { %$env, HTTPD_RELAY => '', DIR => $dir }, 'upstream');
    $self->write('upstream/httpd.conf', $conf);
    $self->{pids}{upstream} = $self->spawn('upstream', "$dir/out", $self->{httpd_program}, '-f', "$dir/httpd.conf",
                                           '-D', 'FOREGROUND', $> == 0 ? ('-D', 'AsRoot') : ());
    $self->await_port('upstream', $self->{ports}{upstream}{tls});
}

sub start_server {
    my ($self, $name) = @_;
    my $file = "$self->{dir}/$name.port";

    unlink $file;
    $self->{pids}{$name} = $self->spawn($name, $file, "$self->{load}" =~ s/rpcload$/rpcserver/r,
                                        $self->{"${name}_port"});
    until (-s $file) {
        sleep 0.02;
        $self->check_alive($name);
    }
    open my $f, '<', $file or die "$file: $!\n";
    chomp($self->{"${name}_port"} = <$f>);
}

# Its configuration is the template of the same name with the variables filled in.
sub start_proxy {
    my ($self, $name, $env, @command) = @_;

    return if $self->{only} && $self->{only} ne $name;
    my $file = $name eq 'httpd' ? 'httpd.conf' : 'haproxy.cfg';

    $self->write($file, $self->fill($file, $env, $name));
    $self->{pids}{$name} = $self->spawn($name, "$self->{dir}/$name.out", $self->{under}->($self->{dir}), @command);
    $self->await_port($name, $self->{ports}{$name}{tls});
}

# The text of FILE for NAME, with the variables filled in; their values may have some, too.
sub fill {
    my ($self, $file, $env, $name) = @_;
    my %vars = (%$env, map { uc($_) . '_PORT' => $self->{ports}{$name}{$_} } keys %{ $self->{ports}{$name} });

    open my $in, '<', "$folder/$file" or die "$folder/$file: $!\n";
    my $text = join '', <$in>;
    1 while $text =~ s/\$\{BENCH_(\w+)\}/$vars{$1} \/\/ die "$file: $1?\n"/ge;
    return $text;
}

sub spawn {
    my ($self, $name, $out, @command) = @_;
    my $pid = fork // die "fork: $!\n";

    return $pid if $pid;
    setpgrp;    # httpd under prefork ends its whole process group
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', $out;
    open STDERR, '>>', "$self->{dir}/$name.log";
    exec @command or die "$command[0]: $!\n";
}

sub await_port {
    my ($self, $name, $port) = @_;
    my $until = time + $patience;

    until (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)) {
        $self->check_alive($name);
        die "$name does not start\n" if time > $until;
        sleep 0.05;
    }
}

# So that none is forked within a measurement.
sub await_children {
    my ($self) = @_;
    my $until = time + $patience;
    my $wanted = $self->{mpm} eq 'prefork' ? $self->{workers} : $self->{processes};

    while ($self->children < $wanted) {
        die "httpd has no children\n" if time > $until;
        sleep 0.1;
    }
    $self->await_answer;
    sleep 1;
    $self->{started} = join ' ', $self->children;
}

# A child that answers has opened all that it needs. Before, a measurement would find that descriptors are
# left over which were never its own: under callgrind a child takes seconds to begin.
sub await_answer {
    my ($self) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{ports}{httpd}{plain})
        or die "httpd does not listen: $!\n";

    print $s "GET / HTTP/1.0\r\n\r\n";
    IO::Select->new($s)->can_read($patience) and defined readline $s or die "httpd does not answer\n";
}

sub children {
    my ($self) = @_;
    my $pid = $self->{pids}{httpd};

    open my $f, '<', "/proc/$pid/task/$pid/children" or die "httpd has gone\n";
    return split ' ', <$f> // '';
}

sub check_alive {
    my ($self, $name) = @_;

    return if !has_ended($self->{pids}{$name});
    delete $self->{pids}{$name};
    die "$name does not run\n";
}

sub has_ended {
    my ($pid) = @_;

    return waitpid($pid, WNOHANG) != 0;
}

# ---- for the measurements ----

# The arguments of rpcload that name a proxy, and by which of its ports: tls, plain, firewall, relay,
# steady_tls, steady_plain.
sub proxy {
    my ($self, $port, $name) = @_;
    my $tls = $port !~ /plain/;
    my $scheme = $name eq 'httpd' || $port eq 'relay' ? ($tls ? 'https' : 'http') : $tls ? 'tls' : 'tcp';
    my $server = $port =~ /steady/ ? $self->{steady_port} : $self->{server_port};

    return ('-t', "localhost:$server", "$scheme:$self->{ports}{$name}{$port}:$self->{pids}{$name}");
}

# A process and its descendants.
sub processes {
    my ($self, $name) = @_;
    my @all = ($self->{pids}{$name});

    push @all, $self->children if $name eq 'httpd';
    return @all;
}

sub kill_server {
    my ($self) = @_;
    my $pid = delete $self->{pids}{server};

    kill KILL => $pid;
    waitpid $pid, 0;
}

sub end {
    my ($self, $name) = @_;
    my $pid = delete $self->{pids}{$name};

    kill TERM => $pid;
    waitpid $pid, 0;
}

# ---- the end ----

sub check {
    my ($self) = @_;

    die "httpd's children have been replaced\n" if $self->{started} ne join ' ', $self->children;
    open my $f, '<', "$self->{dir}/error.log" or die "error.log: $!\n";
    my @bad = grep { /segmentation|assert|panic/i } <$f>;
    die "httpd's error log: @bad" if @bad;
}

sub show_logs {
    my ($self) = @_;

    print STDERR "The last lines of the logs in $self->{dir}:\n";
    system("tail -n 15 $self->{dir}/*.log >&2");
}

sub stop {
    my ($self) = @_;
    my @pids = values %{ delete $self->{pids} // {} };

    kill TERM => @pids;
    waitpid $_, 0 for @pids;
    system('rm', '-rf', $self->{dir}) if !$ENV{KEEP};
}

sub DESTROY {
    my ($self) = @_;

    local $?;
    $self->stop if $self->{pids};
}

# ---- little helpers ----

# Below those that the system gives to connections, of which a crowd takes thousands at any moment.
sub free_ports {
    my ($n) = @_;
    my $least = 10_000;
    my ($above) = slurp('/proc/sys/net/ipv4/ip_local_port_range') =~ /^(\d+)/;
    my $range = max($above // 32_768, 2 * $least) - $least;
    my %sockets;

    while (keys %sockets < $n) {
        my $port = $least + int rand $range;
        my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => $port) or next;
        $sockets{$port} = $socket;
    }
    return keys %sockets;
}

sub slurp {
    my ($file) = @_;

    open my $f, '<', $file or return '';
    local $/;
    return <$f> // '';
}

sub first_in_path {
    for my $name (@_) {
        return $name if grep { -x "$_/$name" } split(/:/, $ENV{PATH});
    }
    die "there is no $_[0]\n";
}

sub query {
    my ($apxs, $what) = @_;

    chomp(my $value = qx($apxs -q $what));
    return $value;
}

sub absolute {
    my ($path) = @_;

    return $path =~ m{^/} ? $path : "$ENV{PWD}/$path";
}

1;
