package RPCH::Front;

# A front end before httpd: nginx, HAProxy or Squid on the loopback, as a child process of the test. It
# ends with the object.

use strict;
use warnings;
use IO::Socket::IP;
use RPCH::Needs qw(program);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test qw(vars);

my $serial = 0;

# PLACES: name => lines for "location /" of a server with a port of its own. "proxy_pass http://back"
# leads to PORT, on connections that stay open.
sub nginx {
    my ($class, $port, %places) = @_;
    my $self = $class->new(sort keys %places);
    my $servers = join '', map { "    server { listen 127.0.0.1:$self->{port}{$_}; location / {\n$places{$_} } }\n" } sort keys %places;
    my $temp = join '', map { "    ${_}_temp_path $self->{dir}/$_;\n" } qw(client_body proxy fastcgi scgi uwsgi);
    return $self->start(<<"CONF", program('nginx'), '-p', $self->{dir}, '-e', "$self->{dir}/log", '-c', "$self->{dir}/conf");
daemon off;
master_process off;
pid $self->{dir}/pid;
events { }
http {
    access_log off;
$temp    keepalive_requests 1000000;
    upstream back { server 127.0.0.1:$port; keepalive 4; keepalive_requests 1000000; }
$servers}
CONF
}

# A whole configuration, whose frontend binds to a port of its own.
sub haproxy_whole {
    my ($class, $conf) = @_;
    my $self = $class->new('all');
    $conf =~ s/bind +\K:\d+/127.0.0.1:$self->{port}{all}/ or die 'no bind';
    return $self->start("global\n    nbthread 1\n    maxconn 100\n$conf", program('haproxy'), '-db', '-f', "$self->{dir}/conf");
}

# PLACES: name => lines of a frontend in mode http.
sub haproxy {
    my ($class, $port, %places) = @_;
    my $self = $class->new(sort keys %places);
    my $frontends = join '', map { "frontend $_\n    bind 127.0.0.1:$self->{port}{$_}\n    $places{$_}\n    default_backend back\n" } sort keys %places;
    return $self->start(<<"CONF", program('haproxy'), '-db', '-f', "$self->{dir}/conf");
global
    nbthread 1
    maxconn 100
defaults
    mode http
    timeout connect 20s
    timeout client 60s
    timeout server 60s
${frontends}backend back
    http-reuse always
    server back 127.0.0.1:$port
CONF
}

# A balancer in mode tcp: each connection goes to the next of PORTS, which learn the client's address by the
# PROXY protocol, from an address of the balancer's own, FROM.
sub balancer {
    my ($class, $from, @ports) = @_;
    my $self = $class->new('all');
    my $servers = join '', map { "    server m$_ 127.0.0.1:$ports[$_] send-proxy\n" } 0 .. $#ports;
    return $self->start(<<"CONF", program('haproxy'), '-db', '-f', "$self->{dir}/conf");
global
    nbthread 1
    maxconn 200
defaults
    mode tcp
    timeout connect 20s
    timeout client 60s
    timeout server 60s
frontend all
    bind 127.0.0.1:$self->{port}{all}
    default_backend machines
backend machines
    balance roundrobin
    source $from
$servers
CONF
}

# LINES of squid.conf, with an https_port, which becomes one of the loopback.
sub squid {
    my ($class, $lines) = @_;
    my $self = $class->new('squid');
    chmod 0777, $self->{dir};       # Squid gives up the rights of root
    $lines =~ s/^https_port +\K\d+/127.0.0.1:$self->{port}{squid}/m or die 'no https_port';
    return $self->start(<<"CONF", program('squid'), '-N', '-f', "$self->{dir}/conf");
$lines
visible_hostname front
dns_nameservers 127.0.0.1
pinger_enable off
shutdown_lifetime 0 seconds
cache_mem 8 MB
access_log none
cache_store_log none
netdb_filename none
cache_log $self->{dir}/log
pid_filename $self->{dir}/pid
coredump_dir $self->{dir}
CONF
}

sub new {
    my ($class, @names) = @_;
    my $dir = vars('serverroot') . "/front-$$-" . ++$serial;
    mkdir $dir or die "$dir: $!\n";
    my $first = RPCH::Root::free_ports(scalar @names);
    return bless { dir => $dir, owner => $$, port => { map { $names[$_] => $first + $_ } 0 .. $#names } }, $class;
}

sub start {
    my ($self, $conf, @command) = @_;
    open my $fh, '>', "$self->{dir}/conf" or die "$self->{dir}: $!\n";
    print $fh $conf;
    close $fh or die "$self->{dir}: $!\n";
    defined($self->{pid} = fork) or die "fork: $!\n";
    if (!$self->{pid}) {
        delete $ENV{LD_PRELOAD};    # the library of a sanitizer is for httpd only
        open STDOUT, '>>', "$self->{dir}/log";
        open STDERR, '>&', \*STDOUT;
        exec @command or exit 1;
    }
    my ($port) = values %{ $self->{port} };
    wait_for("$command[0]: " . $self->log, sub {
        waitpid($self->{pid}, 1) == 0 or die "$command[0] has ended: " . $self->log;
        IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port) or turn(0.02) && 0;
    });
    return $self;
}

sub log { my ($self) = @_; open my $fh, '<', "$self->{dir}/log" or return ''; local $/; return scalar <$fh> // '' }

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$ || !$self->{pid};
    local ($?, $@, $!);
    kill TERM => $self->{pid};
    waitpid $self->{pid}, 0;
    return;
}

1;
