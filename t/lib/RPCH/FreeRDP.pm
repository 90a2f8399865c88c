package RPCH::FreeRDP;

# xfreerdp on a virtual screen of its own, and an httpd for it. The login is NTLM, the only kind that
# FreeRDP knows.

use strict;
use warnings;
use Fcntl ();
use File::Spec;
use POSIX ();
use RPCH::Compile qw(library);
use RPCH::File qw(slurp);
use RPCH::Gateway;
use RPCH::Httpd;
use RPCH::Needs qw(modules program);
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::Test qw(vars);
use Test::More ();

use constant { USER => 'alice', PASSWORD => 'secret', DOMAIN => 'CONTOSO', NEGOTIATION_FAILED => 133 };

# Of the client, and of httpd().
use constant CLIENT => qw(freerdp2-x11 xvfb);
use constant PACKAGES => (CLIENT, qw(gss-ntlmssp libapache2-mod-auth-gssapi));

my $serial = 0;

# A private httpd with TLS. BACKEND serves localhost:3388, the name that FreeRDP always asks for. There is
# one child, because FreeRDP can replace channels only within one proxy.
sub httpd {
    my ($class, %arg) = @_;
    my $conf = vars('serverroot') . '/conf';
    my $users = "$conf/ntlm-users-$$";
    open my $fh, '>', $users or die "$users: $!\n";
    print $fh join(':', DOMAIN, USER, PASSWORD), "\n";
    close $fh or die "$users: $!\n";
    local $ENV{NTLM_USER_FILE} = $users;
    my $self = RPCH::Httpd->new(conf => <<"CONF");
LoadModule auth_gssapi_module @{[ modules() ]}/mod_auth_gssapi.so
@{[ RPCH::Httpd->tls_lines ]}
<Location /rpc/rpcproxy.dll>
    SetHandler rpcproxy
    AuthType GSSAPI
    AuthName rpc
    GssapiAllowedMech ntlmssp
    GssapiConnectionBound On
    Require valid-user
    RpcValidPorts "localhost:3388"
    RpcBackend localhost:3388 $arg{backend}
    @{[ $arg{directives} // '' ]}
</Location>
RedirectMatch 404 "(?i)^/remoteDesktopGateway(/|\$)"
CONF
    return $self->start;
}

# Starts the screen and the client of the gateway at PORT. PRELOAD: a library that is loaded into
# the client. DOMAIN: the user's domain. TRANSPORT: rpc, http, "http,no-websockets", or auto as FreeRDP does by
# itself. HOST: the name of the gateway.
sub start {
    my ($class, $port, $preload, $domain, $transport, $host) = @_;
    my $dir = vars('serverroot') . "/freerdp-$$-" . ++$serial;
    mkdir $dir or die "$dir: $!\n";
    my $self = bless { dir => $dir, owner => $$ }, $class;
    my %env = (DISPLAY => $self->display, LD_PRELOAD => $preload // '');
    my @options = ('/v:target.contoso.test', '/u:user', '/p:password', '/g:' . ($host // '127.0.0.1') . ":$port",
                   '/gt:' . ($transport // 'rpc'), '/gu:' . USER,
                   '/gp:' . PASSWORD, '/gd:' . ($domain // DOMAIN), '/sec:rdp', '/cert:ignore', '/log-level:DEBUG');
    $self->{pid} = $self->spawn(client => \%env, 'stdbuf', '-oL', program('xfreerdp'), @options);
    return $self;
}

# Does the client, started as above, open its tunnel to TARGET (RPCH::TCPServer), which plays the gateway?
sub opens {
    my ($class, $target, $port, $domain) = @_;
    my $self = $class->start($port, undef, $domain);
    my $open = eval {
        wait_for('a connection, or the end', sub { turn(0.02); @{ $target->{new} } || !$self->running });
        my $c = @{ $target->{new} } ? $target->connection : die "FreeRDP ended\n";
        my $gateway = RPCH::Gateway->new(sub { shift @{ $c->{got} } }, sub { $c->put(@_) });
        $gateway->called($gateway->SEND_TO_SERVER);
        $gateway->{heard} =~ /Cookie: mstshash=/;
    };
    return $open || Test::More::diag($@, $self->log) && 0;
}

# Starts an X server of its own, which finds a free number of a display.
sub display {
    my ($self) = @_;
    pipe my $r, my $w or die "pipe: $!\n";
    fcntl $w, Fcntl::F_SETFD(), 0;      # so that the X server inherits it
    $self->{xpid} = $self->spawn(xvfb => {}, program('Xvfb'), '-displayfd', fileno $w, '-screen', '0', '640x480x24',
                                 '-nolisten', 'tcp');
    close $w;
    $r->blocking(0);
    my ($number, $n) = ('', undef);
    wait_for("Xvfb's display", sub {
        turn(0.02);
        $n = sysread $r, $number, 16, length $number;
        return $number =~ /\n/ || defined $n && !$n;
    });
    die "Xvfb: " . $self->log('xvfb') if $number !~ /^(\d+)\n/;
    return ":$1";
}

# Starts a process whose output goes to NAME.log. t/TEST finds processes that are left by their pid files.
sub spawn {
    my ($self, $name, $env, @command) = @_;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        POSIX::setsid();
        open STDIN, '<', File::Spec->devnull;
        open STDOUT, '>', "$self->{dir}/$name.log";
        open STDERR, '>&', \*STDOUT;
        local %ENV = (%ENV, HOME => $self->{dir}, XDG_CONFIG_HOME => $self->{dir}, LD_PRELOAD => '', %$env);
        exec @command or POSIX::_exit(127);
    }
    open my $fh, '>', "$self->{dir}/$name.pid";
    print $fh "$pid\n";
    close $fh;
    return $pid;
}

sub log {
    my ($self, $name) = @_;
    open my $fh, '<', "$self->{dir}/" . ($name // 'client') . '.log' or return '';
    local $/;
    return scalar <$fh> // '';
}

# Waits for a line in the client's log.
sub logs {
    my ($self, $re) = @_;
    return eval { wait_for("$re in FreeRDP's log", sub { turn(0.02); $self->log =~ $re }) } ? 1 : 0;
}

sub running { my ($self) = @_; $self->reap(POSIX::WNOHANG()); return !defined $self->{status} }

sub reap {
    my ($self, $how) = @_;
    return if defined $self->{status};
    local $?;
    $self->{status} = $? if waitpid($self->{pid}, $how) == $self->{pid};
    return;
}

# Builds the library that works around a defect of FreeRDP, which its source describes.
sub patch {
    return library(vars('serverroot') . '/freerdp_recycled', slurp(vars('top_dir') . '/t/partners/freerdp_recycled.c')) // die "no library\n";
}

sub signal { my ($self, $signal) = @_; kill $signal => $self->{pid}; return $self }

# Waits for the end of the client. Returns its exit code, or the signal that ended it.
sub exit_code {
    my ($self) = @_;
    wait_for("FreeRDP's end", sub { turn(0.02); !$self->running });
    return $self->{status} & 127 ? "signal " . ($self->{status} & 127) : $self->{status} >> 8;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $@, $!);
    if ($self->{pid} && $self->running) { kill KILL => $self->{pid}; $self->reap(0) }
    if ($self->{xpid}) { kill TERM => $self->{xpid}; waitpid $self->{xpid}, 0 }
    unlink glob "$self->{dir}/*.pid";
    return;
}

1;
