package RPCH::DC;

# A Samba AD domain controller that serves RPC, with its endpoint mapper at port 135, and NTLM, by winbindd.
# It needs root, and a test that runs apart (RPCH::Apart).

use strict;
use warnings;
use parent -norequire, 'RPCH::AD';
use RPCH::AD;
use RPCH::Apart;
use RPCH::Samba;
use RPCH::Test qw(vars);

use constant PACKAGES => (RPCH::AD::PACKAGES, qw(smbclient winbind));

sub services { return 'rpc winbindd' }
sub is_up {
    my ($self) = @_;
    return IO::Socket::IP->new(PeerHost => $self->{address}, PeerPort => 135) && system('wbinfo -p >/dev/null 2>&1') == 0;
}

# winbindd is found at its usual place, and httpd may have responses of NTLM checked there.
sub serve {
    my ($self) = @_;
    RPCH::Apart::put_at("$self->{dir}/winbindd", '/run/samba/winbindd');
    $self->SUPER::serve;
    my $privileged = "$self->{dir}/state/winbindd_privileged";
    chown 0, scalar getgrnam vars('group'), $privileged or die "$privileged: $!\n";
    return;
}

# What a client has: client.conf, and the programs of t/partners.
sub client_conf { my ($self, @args) = @_; return RPCH::Samba::client_conf($self, @args) }
sub python { my ($self, @args) = @_; return RPCH::Samba::python($self, @args) }

1;
