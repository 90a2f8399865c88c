package RPCH::Samba;

# A private stand-alone Samba as a DCE/RPC server over TCP (samba-dcerpcd alone), on an address
# of the loopback of its own; and the Python programs of the partners that call it.

use strict;
use warnings;
use POSIX ();
use RPCH::File qw(put);
use RPCH::PDU qw(cut);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(bind_pdu rpc_parse BIND_ACK);
use RPCH::Root;
use RPCH::Test qw(vars);
use Test::More ();
use Time::HiRes ();

use constant { PASSWORD => 'Passw0rd!', NT_HASH => 'FC525C9683E8FE067095BA2DDC971889', DOMAIN => 'RPCSRV' };

my $PYTHON = '/usr/bin/python3';        # the system's Python, which has the partners as packages
my $DCERPCD = '/usr/libexec/samba/samba-dcerpcd';

sub user { return scalar getpwuid $> }

my $serial = 0;

# ARG: address, low (the first of its ten ports).
sub start {
    my ($class, %arg) = @_;
    my $dir = vars('serverroot') . "/samba-$$-" . ++$serial;
    my $self = bless { address => vars('sambaaddress'), %arg, dir => $dir, owner => $$ }, $class;
    mkdir $_ for $dir, map { "$dir/$_" } qw(private state cache lock pid ncalrpc log);
    $self->write('smb.conf', $self->conf);
    $self->write('smbpasswd', sprintf "%s:%d:%s:%s:[U          ]:LCT-6523A000:\n", user(), $>, 'X' x 32, NT_HASH);
    $self->client_conf(vars('serverroot') . '/conf/server.crt');
    $self->{pid} = fork // die "fork: $!\n";
    if (!$self->{pid}) {
        POSIX::setsid();
        open STDOUT, '>', "$dir/log/out";
        open STDERR, '>&', \*STDOUT;
        exec $DCERPCD, '-F', '--no-process-group', "--configfile=$dir/smb.conf", '--libexec-rpcds' or POSIX::_exit(127);
    }
    $self->write('dcerpcd.pid', "$self->{pid}\n");
    wait_for("Samba's interfaces", sub { $self->find_interfaces; turn(0.05); $self->{ports}{winreg} && $self->{ports}{samr} });
    return $self;
}

sub conf {
    my ($self) = @_;
    my $dir = $self->{dir};
    my $low = $self->{low} //= RPCH::Root::free_ports(10);
    my %dirs = ('private dir' => 'private', 'state directory' => 'state', 'cache directory' => 'cache', 'lock directory' => 'lock',
                'pid directory' => 'pid', 'ncalrpc dir' => 'ncalrpc', 'binddns dir' => 'state');
    return join "\n", '[global]', 'netbios name = ' . DOMAIN, 'workgroup = RPCGRP', 'server role = standalone server',
        "passdb backend = smbpasswd:$dir/smbpasswd", (map { "$_ = $dir/$dirs{$_}" } sort keys %dirs),
        "log file = $dir/log/%m.log", 'usershare path =', "interfaces = $self->{address}/8", 'bind interfaces only = yes',
        'disable netbios = yes', 'rpc start on demand helpers = no', "rpc server dynamic port range = $low-" . ($low + 9),
        'allow dcerpc auth level connect = yes', 'load printers = no', 'printing = bsd', 'printcap name = /dev/null',
        "disable spoolss = yes\n";
}

# client.conf: what Samba's own client needs to trust the proxy with this certificate.
sub client_conf {
    my ($self, $certificate) = @_;
    my $dir = "$self->{dir}/client";
    mkdir $dir;
    my $client = join "\n", '[global]', 'netbios name = CLIENT', 'workgroup = WORKGROUP',
        'client min protocol = NT1', 'interfaces = 127.0.0.1/8', 'tls verify peer = ca_only', "tls cafile = $certificate",
        'tls priority = NORMAL:-VERS-TLS1.3',   # its session tickets hang this client
        map { "$_ = $dir" } 'private dir', 'state directory', 'cache directory', 'lock directory', 'pid directory';
    return $self->write('client.conf', "$client\n");
}

sub write { my ($self, $name, $text) = @_; return put("$self->{dir}/$name", $text) }

# Interface name => port, found by a bind at each port. The endpoint mapper knows the ports, too, but only
# root can listen at port 135. What has been found is not looked for again, because each bind may wait for a
# helper that is still busy.
my %INTERFACE = (samr => ['12345778-1234-abcd-ef00-0123456789ac', 1],
                 winreg => ['338cd001-2244-31f1-aaaa-900038001003', 1]);
sub find_interfaces {
    my ($self) = @_;
    for my $name (grep { !$self->{ports}{$_} } keys %INTERFACE) {
        for my $port ($self->{low} .. $self->{low} + 9) {
            $self->{ports}{$name} = $port and last if $self->accepts($port, @{ $INTERFACE{$name} });
        }
    }
    return;
}

sub accepts {
    my ($self, $port, $interface, $version) = @_;
    my $fh = IO::Socket::IP->new(PeerHost => $self->{address}, PeerPort => $port) or return;
    my $peer = RPCH::Peer->new(fh => $fh, name => 'Samba');
    $peer->put(bind_pdu(interface => $interface, version => $version));
    my $answer;
    eval { wait_for('bind_ack', sub { defined($answer = cut(\$peer->{in})) || $peer->{eof} }, 5) };
    $peer->close;
    return defined $answer && rpc_parse($answer)->{ptype} == BIND_ACK && rpc_parse($answer)->{result} == 0;
}

# Is there an endpoint mapper? Only the Samba of root has one.
sub has_mapper {
    my ($self) = @_;
    return IO::Socket::IP->new(PeerHost => $self->{address}, PeerPort => 135) ? 1 : 0;
}

# Runs a program of the partners and returns its output.
sub python {
    my ($self, $script, @args) = @_;
    my $dir = vars('serverroot');
    my $pid = open(my $out, '-|') // die "fork: $!\n";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        $ENV{HOME} = $self->{dir};
        exec 'timeout', '60', $PYTHON, vars('top_dir') . "/t/partners/$script", @args or POSIX::_exit(127);
    }
    local $/;
    my $text = <$out>;
    close $out;
    return $text // '';
}

# Ends Samba with all its helpers.
sub stop {
    my ($self) = @_;
    kill TERM => -$self->{pid};
    waitpid $self->{pid}, 0;
    delete $self->{pid};
    unlink "$self->{dir}/dcerpcd.pid";
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$ || !$self->{pid};
    local ($?, $@, $!);
    $self->stop;
    return;
}

1;
