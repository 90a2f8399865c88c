package RPCH::AD;

# A private Samba AD domain controller, of which only the KDC is started, on an address of the loopback
# of its own; its accounts, their keytabs, and what a client of Kerberos needs. Any user can run it.
# (RPCH::DC is one with more services.)

use strict;
use warnings;
use parent 'RPCH::KDC';
use IPC::Open2 qw(open2);
use JSON::PP ();
use POSIX ();
use RPCH::Compile qw(compile);
use RPCH::File qw(slurp);
use RPCH::Needs qw(program);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test qw(vars);

use constant { REALM => 'AD.TEST', DOMAIN => 'ADTEST' };
use constant PACKAGES => qw(krb5-user python3-samba samba samba-ad-provision samba-dsdb-modules samba-vfs-modules);
use constant { DISABLED => 0x2, SENSITIVE => 0x100000, ANY_PROTOCOL => 0x1000000 };     # of userAccountControl

my $PYTHON = '/usr/bin/python3';
my $SAMBA = '/usr/sbin/samba';

# ACCOUNTS: hashes as t/partners/ad_dc.py wants them. Environment variables of this process, and of
# those that it starts, point to the realm while the object lives; KRB5CCNAME to nothing.
sub start {
    my ($class, @accounts) = @_;
    my $dir = vars('serverroot') . "/ad-$$";
    mkdir $dir or die "$dir: $!\n";
    my $self = bless { dir => $dir, address => vars('sambaaddress'), port => RPCH::Root::free_ports(1), owner => $$ }, $class;
    $self->write('krb5.conf', $self->configuration);
    $self->enter;
    $self->run(\JSON::PP->new->encode(\@accounts), $PYTHON, vars('top_dir') . '/t/partners/ad_dc.py', $dir, REALM, DOMAIN, @$self{qw(address port)}, $self->services);
    $self->serve;
    return $self;
}

# What is started, in words of smb.conf; and whether it can be used.
sub services { return 'kdc' }
sub is_up { my ($self) = @_; return IO::Socket::IP->new(PeerHost => $self->{address}, PeerPort => $self->{port}) }

# Numbers, no names; the realm of NetBIOS's name of the domain is one of the things that are tested.
sub configuration {
    my ($self) = @_;
    my $realm = REALM;
    return <<"CONF";
[libdefaults]
    default_realm = $realm
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 0
    forwardable = true
[realms]
    $realm = {
        kdc = $self->{address}:$self->{port}
    }
[domain_realm]
    .test = $realm
    adtest = $realm
CONF
}

sub serve {
    my ($self) = @_;
    my $dir = $self->{dir};
    $self->{pid} = fork // die "fork: $!\n";
    if (!$self->{pid}) {
        POSIX::setsid();
        chdir $dir;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$dir/log/out";
        open STDERR, '>&', \*STDOUT;
        delete $ENV{LD_PRELOAD};
        exec $SAMBA, '-F', '-s', "$dir/etc/smb.conf", '-l', "$dir/log", '--no-process-group' or POSIX::_exit(127);
    }
    $self->write('samba.pid', "$self->{pid}\n");
    wait_for("Samba's domain controller", sub {
        die "samba ended\n" if waitpid($self->{pid}, POSIX::WNOHANG()) == $self->{pid};
        turn(0.02);
        $self->is_up;
    });
    return;
}

sub keytab { my ($self, $account) = @_; return "$self->{dir}/$account.keytab" }

# Fetches a ticket of USER into a cache of its own; the cache's name.
sub login {
    my ($self, $user, $password, @options) = @_;
    my $cache = "FILE:$self->{dir}/ccache-" . $user =~ tr{/}{_}r;
    local $ENV{KRB5CCNAME} = $cache;
    $self->run(\(defined $password ? "$password\n" : ''), program('kinit'), @options, $user);
    return $cache;
}

# Has ACCOUNT judge tokens from now on, see whose().
sub accept_as {
    my ($self, $account) = @_;
    my $program = compile("$self->{dir}/whose", slurp(vars('top_dir') . '/t/partners/whose.c'), '$(pkg-config --cflags --libs krb5-gssapi) -lcrypto')
        or die "whose.c: no program\n";
    local $ENV{KRB5_KTNAME} = $self->keytab($account);
    local $ENV{KRB5RCACHENAME} = "file2:$self->{dir}/accepted";     # tokens that come twice are refused
    local $ENV{LD_PRELOAD};
    $self->{acceptor} = open2($self->{accepted}, $self->{tokens}, $program);
    return;
}

# The principal and the account of the PAC that a token of Negotiate is from; '-': it is refused.
sub whose {
    my ($self, $token) = @_;
    print { $self->{tokens} } "$token\n";
    $self->{tokens}->flush;
    my ($principal, $account) = split ' ', readline $self->{accepted};
    return ($principal, $account);
}

# Ends Samba with all its processes.
sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill TERM => -$pid;
    waitpid $pid, 0;
    unlink "$self->{dir}/samba.pid";
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $@, $!);
    if ($self->{acceptor}) { close $self->{tokens}; waitpid $self->{acceptor}, 0 }
    return $self->SUPER::DESTROY;
}

1;
