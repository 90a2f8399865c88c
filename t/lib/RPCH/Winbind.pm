package RPCH::Winbind;

# A private stand-alone winbindd with its accounts in a file: alice (secret), bob (hidden), and carol, whose
# account is disabled. Processes that have its environment() find it: libwbclient gets the folder of its
# sockets, and nss_wrapper gets the accounts.

use strict;
use warnings;
use POSIX ();
use RPCH::Compile qw(preload);
use RPCH::File qw(put slurp);
use RPCH::Needs qw(needs);
use RPCH::Poll qw(wait_for turn);
use RPCH::Test qw(vars);
use Test::More ();

use constant { COMPUTER => 'RPCSRV', WORKGROUP => 'RPCGRP' };

my $WINBINDD = '/usr/sbin/winbindd';
my %NT_HASH = (alice => '878D8014606CDA29677A44EFA1353FC7', bob => '77E2ECB23C9565F1685608016EBEA9B8');
my @DIRS = qw(private state cache lock pid ncalrpc log sock);

sub need {
    Test::More::plan(skip_all => "libwbclient trusts root's winbindd only") if $> != 0;
    return needs(qw(winbind /usr/bin/wbinfo curl libnss-wrapper));
}

sub new {
    my ($class) = @_;
    my $dir = vars('serverroot') . "/winbind-$$";
    my $self = bless { dir => $dir, owner => $$ }, $class;
    mkdir $_ for $dir, map { "$dir/$_" } @DIRS;
    chmod 0755, $dir, "$dir/sock";
    $self->accounts;
    my %dirs = ('private dir' => 'private', 'state directory' => 'state', 'cache directory' => 'cache',
                'lock directory' => 'lock', 'pid directory' => 'pid', 'ncalrpc dir' => 'ncalrpc',
                'binddns dir' => 'state', 'winbindd socket directory' => 'sock');
    $self->write('smb.conf', join "\n", '[global]', 'netbios name = ' . COMPUTER, 'workgroup = ' . WORKGROUP,
        'server role = standalone server', "passdb backend = smbpasswd:$dir/smbpasswd",
        (map { "$_ = $dir/$dirs{$_}" } sort keys %dirs), "log file = $dir/log/%m.log", 'usershare path =',
        'rpc start on demand helpers = no',     # they would outlive winbindd
        'idmap config * : backend = tdb', "idmap config * : range = 100000-200000\n");
    return $self;
}

sub write { my ($self, $name, $text) = @_; return put("$self->{dir}/$name", $text) }

# All three have passwords. This machine's own accounts stay, because winbindd runs as one of them.
sub accounts {
    my ($self) = @_;
    my %uid = (alice => 50001, bob => 50002, carol => 50003);
    my %hash = (%NT_HASH, carol => $NT_HASH{alice});
    $self->write('smbpasswd', join '', map { "$_:$uid{$_}:" . 'X' x 32 . ":$hash{$_}:"
        . ($_ eq 'carol' ? '[DU         ]' : '[U          ]') . ":LCT-6523A000:\n" } sort keys %uid);
    $self->write('passwd', slurp('/etc/passwd') . join '', map { "$_:x:$uid{$_}:50000::/:/bin/false\n" } sort keys %uid);
    $self->write('group', slurp('/etc/group') . "rpcusers:x:50000:\n");
    return;
}

# The environment for httpd and for winbindd itself.
sub environment {
    my ($self) = @_;
    return (LD_PRELOAD => preload('libnss_wrapper.so'), NSS_WRAPPER_PASSWD => "$self->{dir}/passwd",
            NSS_WRAPPER_GROUP => "$self->{dir}/group", SELFTEST_WINBINDD_SOCKET_DIR => "$self->{dir}/sock");
}

sub start {
    my ($self) = @_;
    my %env = $self->environment;
    $self->{pid} = fork // die "fork: $!\n";
    if (!$self->{pid}) {
        @ENV{keys %env} = values %env;
        $ENV{LD_PRELOAD} = 'libnss_wrapper.so';
        POSIX::setsid();
        open STDOUT, '>', "$self->{dir}/log/out";
        open STDERR, '>&', \*STDOUT;
        exec $WINBINDD, '-F', '--no-process-group', '-s', "$self->{dir}/smb.conf" or POSIX::_exit(127);
    }
    $self->write('winbindd.pid', "$self->{pid}\n");
    wait_for('winbindd', sub { turn(0.05); $self->answers });
    $self->open_to_httpd(1);
    return $self;
}

sub answers {
    my ($self) = @_;
    local %ENV = (%ENV, $self->environment, LD_PRELOAD => 'libnss_wrapper.so');
    return system('wbinfo -p >/dev/null 2>&1') == 0;
}

# Only a process of the group that owns this folder can have responses checked, through a socket in it. So it
# is on a real machine.
sub open_to_httpd {
    my ($self, $yes) = @_;
    my $gid = $yes ? scalar getgrnam vars('group') : 0;
    chown 0, $gid, "$self->{dir}/state/winbindd_privileged" or die "winbindd_privileged: $!\n";
    return;
}

sub stop {
    my ($self) = @_;
    return if !$self->{pid};
    kill TERM => $self->{pid};
    waitpid $self->{pid}, 0;
    delete $self->{pid};
    unlink "$self->{dir}/winbindd.pid";
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $@, $!);
    $self->stop;
    return;
}

1;
