package RPCH::Root;

# The server root of a test run, which is removed afterwards. It lies in the system's folder for temporary
# files, so that httpd's children can read it whoever runs the tests and wherever the checkout is.

use strict;
use warnings;
use Digest::SHA qw(sha1_base64);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path ();
use File::Temp qw(tempdir);
use IO::Socket::IP;
use RPCH::File qw(put slurp);
use RPCH::Settle ();

# Modules that the configuration of the tests uses. Modules that are built into httpd have no file.
my @MODULES = qw(unixd log_config logio version env setenvif mime dir alias authn_core authn_file
                 authz_core authz_host authz_user auth_basic reqtimeout socache_shmcb ssl);

# Limits of each MPM that leave room for the channels of the tests. One child serves; with free slots
# (ServerLimit) the next one can start while a child retires and still has channels.
my %LIMITS = (
    event   => { channels => 1000, conf => "ServerLimit 4\nStartServers 1\nThreadsPerChild 25\n"
                 . "MaxRequestWorkers 25\nMinSpareThreads 5\nMaxSpareThreads 25\nAsyncRequestWorkerFactor 48\n" },
    worker  => { channels => 50, conf => "ServerLimit 4\nStartServers 1\nThreadsPerChild 60\n"
                 . "MaxRequestWorkers 60\nMinSpareThreads 5\nMaxSpareThreads 60\n" },
    prefork => { channels => 20, conf => "ServerLimit 24\nStartServers 12\nMinSpareServers 6\n"
                 . "MaxSpareServers 24\nMaxRequestWorkers 24\n" },
);

# The files that run under worker and prefork.
my @SHORT = qw(00-doubles.t 01-handler.t 02-connect.t 03-relay.t 06-endpoint.t 09-recycle.t 14-v1.t 54-resolver.t);

our %USERS = (alice => 'secret', bob => 'hidden', 'RPCSRV\\alice' => 'secret');

sub new {
    my ($class, %arg) = @_;
    my $self = bless {%arg}, $class;
    $self->{limits} = $LIMITS{ $arg{mpm} } or die "MPM $arg{mpm}: event, worker or prefork\n";
    $self->{so} = File::Spec->rel2abs($ENV{RPCPROXY_SO} || "$arg{top}/build/mod_rpcproxy.so");
    -e $self->{so} or die "$self->{so} is not built\n";
    $self->{apxs} = $ENV{APXS} || (grep { -x } map { ("$_/apxs", "$_/apxs2") } File::Spec->path, '/usr/bin')[0]
        or die "no apxs\n";
    $self->apxs($_) for qw(SBINDIR PROGNAME LIBEXECDIR), qw(BINDIR TARGET SYSCONFDIR PREFIX);     # the second list is for Apache::Test
    $self->{httpd} = $ENV{HTTPD} || $self->apxs('SBINDIR') . '/' . $self->apxs('PROGNAME');
    $self->{dir} = tempdir('rpcproxy-XXXXXX', TMPDIR => 1);
    chmod 0755, $self->{dir};
    mkdir "$self->{dir}/$_" for qw(conf logs run htdocs);
    $self->{owner} = $$;
    $self->claim_ports;
    $self->base_conf;
    $self->certificate;
    $self->users;
    copy($_, "$self->{dir}/conf/") or die "$_: $!\n" for glob "$arg{top}/t/conf/*.in";
    return $self;
}

# The answers of apxs. Each is asked once, because apxs is slow; processes that are forked later have
# the answers, too.
my %said;
sub ask_apxs {
    my ($apxs, $name) = @_;
    return $said{$name} //= do { chomp(my $value = qx($apxs -q $name 2>/dev/null) // ''); $value };
}
sub apxs { my ($self, $name) = @_; return ask_apxs($self->{apxs}, $name) }

sub write { my ($self, $name, $text) = @_; return put("$self->{dir}/$name", $text) }

# LoadModule lines: what Apache::Test inherits, and what private servers include.
sub base_conf {
    my ($self) = @_;
    my $lib = $self->apxs('LIBEXECDIR');
    my @lines = map { -e "$lib/mod_$_.so" ? "LoadModule ${_}_module $lib/mod_$_.so\n" : () }
                "mpm_$self->{mpm}", @MODULES;
    # Both modules of the project lie in the same folder.
    my $own = "LoadModule rpcproxy_module $self->{so}\n"
              . "LoadModule auth_ntlm_module " . dirname($self->{so}) . "/mod_auth_ntlm.so\n";
    $self->write('conf/base.conf', join '', @lines, $own);
    $self->write("conf/mpm-$_.conf", -e "$lib/mod_mpm_$_.so" ? "LoadModule mpm_${_}_module $lib/mod_mpm_$_.so\n" : '')
        for keys %LIMITS;
    $self->write('conf/modules.conf', join '', @lines[grep { $lines[$_] !~ /mpm_/ } 0 .. $#lines], $own);
    $self->write('conf/limits.conf', $self->{limits}{conf});
    return;
}

sub certificate {
    my ($self) = @_;
    my $conf = "$self->{dir}/conf";
    $self->write('conf/openssl.cnf', "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=ext\n"
                 . "[dn]\nCN=localhost\n[ext]\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n"
                 . "basicConstraints=critical,CA:TRUE\n");
    system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -config $conf/openssl.cnf "
           . "-keyout $conf/server.key -out $conf/server.crt 2>$conf/openssl.log") == 0
        or die "openssl: no certificate, see its message:\n" . qx(cat $conf/openssl.log);
    return;
}

sub users {
    my ($self) = @_;
    # Samba's client logs in to HTTP as its DCE/RPC user, who has to exist on this machine
    local $USERS{'RPCSRV\\' . getpwuid $>} = 'Passw0rd!';
    my $hash = sub { my $h = sha1_base64(shift); $h .= '=' while length($h) % 4; "{SHA}$h" };
    $self->write('conf/users', join '', map { "$_:" . $hash->($USERS{$_}) . "\n" } sort keys %USERS);
    return;
}

# A root owns a block of neighbouring ports, below those that the kernel chooses itself. The process that
# listens at the first port owns the block until it ends, so two runs never share a block.
use constant { PORTS_LOW => 10_000, PORTS_HIGH => 30_000, BLOCK => 100 };

sub claim_ports {
    my ($self) = @_;
    for (1 .. 1000) {
        my $first = PORTS_LOW + BLOCK * int rand +(PORTS_HIGH - PORTS_LOW) / BLOCK;
        # The ports of the root's own httpd have to be free as well: an interrupted run may have left an httpd
        my @taken = map { can_listen($_) } $first .. $first + 3;
        next if grep { !$_ } @taken;
        $self->{claim} = $taken[0];
        $ENV{RPCH_PORTS} = $self->{ports} = $first;
        return;
    }
    die "no free ports\n";
}

sub can_listen { my ($port) = @_; return scalar IO::Socket::IP->new(LocalHost => '0.0.0.0', LocalPort => $port, Listen => 1) }

# N neighbouring ports of the root's block that are free now. They are taken in turn, so that a port is
# seldom used again.
my $next_port = 0;
sub free_ports {
    my ($n) = @_;
    my $first = $ENV{RPCH_PORTS} or die "run the tests by t/TEST\n";
    $next_port ||= 4 + int rand BLOCK - 4;      # each process begins at another port; the root itself has four
    for (1 .. 2 * BLOCK) {
        $next_port = 4 if $next_port + $n > BLOCK;
        my $base = $first + $next_port++;
        next if grep { !can_listen($_) } $base .. $base + $n - 1;
        $next_port += $n - 1;
        return $base;
    }
    die "no free ports\n";
}

# The test files that can run under an MPM.
sub tests_of {
    my ($mpm, $top) = @_;
    return @SHORT if $mpm ne 'event';
    return map { s{.*/}{}r } sort glob "$top/t/*.t";
}

# Runs tests by Apache::Test, which starts httpd before them and stops it afterwards. Returns the exit
# status.
sub run {
    my ($self, @args) = @_;
    my $status = $self->apache_test(@args);
    $self->stop_servers;
    return $self->crashes || $status;
}

# Starts httpd, which runs until stop_servers(), and returns the exit status. A file gets the output of
# Apache::Test.
sub start {
    my ($self, $says) = @_;
    return $self->apache_test({ output => $says }, '-start-httpd');
}

# Runs Apache::Test in a process of its own and returns its exit status.
sub apache_test {
    my ($self, @args) = @_;
    my %how = ref $args[0] ? %{ shift @args } : ();
    my $port = $self->{ports} + 1;
    my @opts = (-apxs => $self->{apxs}, -httpd => $self->{httpd}, -serverroot => $self->{dir},
                -t_conf => "$self->{dir}/conf", -httpd_conf => "$self->{dir}/conf/base.conf",
                -servername => '127.0.0.1', -port => $port);
    $ENV{RPCH_ROOT} = $self->{dir};
    defined(my $pid = fork) or die "fork: $!\n";
    if (!$pid) {
        @SIG{qw(INT TERM)} = ('DEFAULT') x 2;
        if ($how{output}) { open STDOUT, '>', $how{output}; open STDERR, '>&', \*STDOUT }
        unshift @INC, $self->{dir};     # where Apache::Test finds its saved configuration
        require RPCH::Run;
        RPCH::Run->new->with(tlsport => $port + 1, plainport => $port + 2, mpm => $self->{mpm},
                             maxchannels => $self->{limits}{channels}, sambaaddress => $self->samba_address)->run(@opts, @args);
        exit 0;
    }
    # Apache::Test stops its httpd on an interrupt; this process only waits and cleans up.
    local @SIG{qw(INT TERM)} = (sub { $self->{interrupted} = 1 }, sub { $self->{interrupted} = 1; kill TERM => $pid });
    1 while waitpid($pid, 0) != $pid;
    return $? >> 8 || $? & 127;
}

# An address for this run alone, because Samba's endpoint mapper chooses its port itself.
sub samba_address {
    my ($self) = @_;
    return join '.', 127, 1 + ($self->{ports} - PORTS_LOW) / BLOCK, 1 + int rand 250, 1;
}

# The run fails when a child died of a signal or a sanitizer reported a fault, even if all tests passed.
# The lines before it in the log tell which server the child belonged to.
sub crashes {
    my ($self) = @_;
    my $bad = qr/exit signal|(?:Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:/;
    my $found = 0;
    for my $log ("$self->{dir}/logs/error_log", glob "$self->{dir}/private-*/error_log") {
        open my $fh, '<', $log or next;
        my @lines = <$fh>;
        my @at = grep { $lines[$_] =~ $bad } 0 .. $#lines or next;
        my $from = $at[0] > 30 ? $at[0] - 30 : 0;
        print STDERR "$log:\n", @lines[$from .. $at[0]], @lines[@at[1 .. $#at]];
        $found = 1;
    }
    return $found;
}

# Ends the servers, and waits until those that tests have told to end have done so. The run's own httpd stops
# gracefully: when event is stopped at once, a child may die of httpd's own race (RPCH::Settle).
sub stop_servers {
    my ($self) = @_;
    my @servers = grep { $self->has($_->[1]) } map { [dirname($_), pid_in($_)] } glob "$self->{dir}/*/*.pid";
    for (grep { !-e "$_->[0]/told-to-end" } @servers) {
        kill WINCH => $_->[1] and next if $_->[0] eq "$self->{dir}/logs";
        RPCH::Settle::stop_by('TERM', $self->{mpm}, $_->[1], sub { select undef, undef, undef, 0.02 },
                              map { $self->{ports} + $_ } 1 .. 3);
    }
    my $end = time + 15;
    for my $pid (map { $_->[1] } @servers) {
        select undef, undef, undef, 0.05 while $self->has($pid) && time < $end;
        # The parent first, so that it does not log that its children were killed
        kill KILL => $pid, RPCH::Settle::children_of($pid) if $self->has($pid);
    }
    return;
}

# Is this a process of this run? The system may have given the id of one that was killed to another process.
sub has {
    my ($self, $pid) = @_;
    return $pid && grep { index(eval { slurp("/proc/$pid/$_") } // '', $self->{dir}) >= 0 } qw(cmdline environ);
}

sub pid_in {
    my ($file) = @_;
    open my $fh, '<', $file or return;
    return (<$fh> // '') =~ /^(\d+)$/ ? $1 : undef;
}

sub DESTROY {
    my ($self) = @_;
    return if !$self->{owner} || $self->{owner} != $$;
    local ($?, $@, $!);
    $self->stop_servers;
    if ($self->{keep}) { print STDERR "server root: $self->{dir}\n"; return }
    mkdir "$self->{top}/build/t";
    copy("$self->{dir}/logs/$_", "$self->{top}/build/t/$_") for qw(error_log access_log);
    File::Path::remove_tree($self->{dir});
    return;
}

1;
