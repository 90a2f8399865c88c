package RPCH::KDC;

# A private Kerberos realm: one key distribution center on the loopback, its principals, and what
# a client needs of it. Nothing of the machine's own Kerberos is read or written.

use strict;
use warnings;
use File::Path ();
use File::Spec;
use POSIX ();
use RPCH::File qw(put);
use RPCH::Needs qw(program);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test qw(vars);
use Test::More ();

use constant REALM => 'CONTOSO.TEST';
use constant PACKAGES => qw(krb5-admin-server krb5-kdc krb5-user);

# Starts a realm with these USER => PASSWORD pairs; services get random keys. While the object lives,
# environment variables of this process, and of processes that it starts such as httpd, point to the
# realm.
sub start {
    my ($class, %users) = @_;
    my $dir = vars('serverroot') . "/kdc-$$";
    mkdir $dir or die "$dir: $!\n";
    my $self = bless { dir => $dir, port => RPCH::Root::free_ports(1), owner => $$ }, $class;
    $self->configure;
    $self->enter(KRB5_KDC_PROFILE => "$dir/kdc.conf");
    $self->run(program('kdb5_util'), qw(create -s -W -P master -r), REALM);
    $self->admin("addprinc -pw $users{$_} $_") for sort keys %users;
    $self->serve;
    return $self;
}

# Has environment variables point to the realm, MORE among them.
sub enter {
    my ($self, %more) = @_;
    my $dir = $self->{dir};
    $self->{env} = { KRB5_CONFIG => "$dir/krb5.conf", KRB5CCNAME => "FILE:$dir/none", KRB5RCACHENAME => $self->replay_cache, %more };
    $self->{saved} = { map { $_ => $ENV{$_} } keys %{ $self->{env} } };
    @ENV{ keys %{ $self->{env} } } = values %{ $self->{env} };
    return;
}

# What a client needs to find the KDC of REALM at PORT, and to ask no name server.
sub krb5_conf {
    my ($realm, $port) = @_;
    return <<"CONF";
[libdefaults]
    default_realm = $realm
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    $realm = {
        kdc = 127.0.0.1:$port
    }
CONF
}

sub configure {
    my ($self) = @_;
    my ($dir, $port, $realm) = (@$self{qw(dir port)}, REALM);
    $self->write('krb5.conf', krb5_conf($realm, $port) . <<"CONF");
[domain_realm]
    localhost = $realm
[logging]
    kdc = FILE:$dir/kdc.log
    default = FILE:$dir/default.log
CONF
    return $self->write('kdc.conf', <<"CONF");
[kdcdefaults]
    kdc_listen = 127.0.0.1:$port
    kdc_tcp_listen = 127.0.0.1:$port
[realms]
    $realm = {
        database_name = $dir/principal
        key_stash_file = $dir/stash
        acl_file = $dir/acl
        supported_enctypes = aes256-cts:normal
    }
CONF
}

sub write { my ($self, $name, $text) = @_; return put("$self->{dir}/$name", $text) }

# Runs a program of Kerberos to its end and returns its output. The program reads INPUT.
sub run {
    my ($self, @command) = @_;
    my $input = ref $command[0] ? ${ shift @command } : '';
    $self->write('input', $input);
    my $pid = open(my $out, '-|') // die "fork: $!\n";
    if (!$pid) {
        open STDIN, '<', "$self->{dir}/input";
        open STDERR, '>&', \*STDOUT;
        delete $ENV{LD_PRELOAD};    # some of them hang with the library of a sanitizer
        exec @command or POSIX::_exit(127);
    }
    my $text = do { local $/; <$out> } // '';
    close $out or die "@command: $text\n";
    return $text;
}

sub admin {
    my ($self, $query) = @_;
    my $text = $self->run(program('kadmin.local'), '-r', REALM, '-q', $query);
    die "$query: $text\n" if $text =~ /^(?:\w+): .* while /m;
    return $text;
}

sub serve {
    my ($self) = @_;
    $self->{pid} = fork // die "fork: $!\n";
    if (!$self->{pid}) {
        POSIX::setsid();
        open STDIN, '<', File::Spec->devnull;
        open STDOUT, '>', "$self->{dir}/out";
        open STDERR, '>&', \*STDOUT;
        delete $ENV{LD_PRELOAD};
        exec program('krb5kdc'), '-n', '-r', REALM or POSIX::_exit(127);
    }
    $self->write('kdc.pid', "$self->{pid}\n");
    wait_for('the key distribution center', sub {
        die "krb5kdc ended\n" if waitpid($self->{pid}, POSIX::WNOHANG()) == $self->{pid};
        turn(0.02);
        IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $self->{port});
    });
    return;
}

# Makes the principal of a service. Returns its keytab, which httpd's children can read.
sub service {
    my ($self, $name) = @_;
    my $keytab = "$self->{dir}/" . $name =~ tr{/}{_}r . '.keytab';
    $self->admin("addprinc -randkey $name");
    $self->admin("ktadd -k $keytab $name");
    chmod 0644, $keytab;
    return $keytab;
}

# The replay cache of httpd's children, in a folder in which they may write.
sub replay_cache {
    my ($self) = @_;
    my $dir = "$self->{dir}/replay";
    mkdir $dir or die "$dir: $!\n";
    chown scalar getpwnam(vars('user')), -1, $dir if $> == 0;
    return "file2:$dir/cache";
}

# Fetches a ticket. From now on this process and its children act for USER.
sub login {
    my ($self, $user, $password, @options) = @_;
    $ENV{KRB5CCNAME} = "FILE:$self->{dir}/ccache-$user";
    return $self->run(\"$password\n", program('kinit'), @options, $user);
}
sub logout { my ($self) = @_; $ENV{KRB5CCNAME} = $self->{env}{KRB5CCNAME}; return }

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill TERM => $pid;
    waitpid $pid, 0;
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $@, $!);
    $self->stop;
    for my $name (keys %{ $self->{saved} }) {
        defined $self->{saved}{$name} ? $ENV{$name} = $self->{saved}{$name} : delete $ENV{$name};
    }
    File::Path::remove_tree($self->{dir});
    return;
}

1;
