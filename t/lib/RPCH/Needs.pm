package RPCH::Needs;

# What a test needs, and a machine may lack: packages of Debian, programs, modules of httpd. (CI has all the packages
# that tools/deps.sh names.)

use strict;
use warnings;
use Exporter 'import';
use File::Spec;
use RPCH::Root;
use RPCH::Test qw(vars);
use Test::More ();

our @EXPORT_OK = qw(lacks missing modules needs needs_modules program);

# What shows that a package is there, in the forms that has() knows. What is not here stands for itself.
my %SIGN = (
    'freerdp2-x11'                => 'xfreerdp',
    'gss-ntlmssp'                 => '/etc/gss/mech.d/mech.ntlmssp.conf',
    'krb5-admin-server'           => 'kadmin.local',
    'krb5-kdc'                    => 'krb5kdc',
    'krb5-user'                   => 'kinit',
    'libapache2-mod-auth-gssapi'  => 'mod_auth_gssapi.so',
    'libapache2-mod-auth-openidc' => 'mod_auth_openidc.so',
    'libcryptx-perl'              => 'Crypt/AuthEnc/GCM.pm',
    'libgssapi-perl'              => 'GSSAPI.pm',
    'libnss-wrapper'              => '/usr/lib/*/libnss_wrapper.so',
    'monitoring-plugins-basic'    => '/usr/lib/nagios/plugins/check_http',
    'nginx-light'                 => 'nginx',
    'prometheus'                  => 'promtool',
    'python3-html5lib'            => 'import html5lib',
    'python3-impacket'            => 'import impacket',
    'python3-prometheus-client'   => 'import prometheus_client',
    'python3-samba'               => 'import samba.dcerpc.mgmt, samba.provision',
    'samba'                       => '/usr/sbin/samba',
    'samba-common-bin'            => '/usr/libexec/samba/samba-dcerpcd',
    'samba-ad-provision'          => '/usr/share/samba/setup/provision.ldif',
    'samba-dsdb-modules'          => '/usr/lib/*/samba/ldb/samba_dsdb.so',
    'samba-vfs-modules'           => '/usr/lib/*/samba/vfs/acl_xattr.so',
    'smbclient'                   => '/usr/bin/rpcclient',
    'winbind'                     => '/usr/sbin/winbindd',
    'xvfb'                        => 'Xvfb',
);

# The folder of httpd's modules.
sub modules { return RPCH::Root::ask_apxs(vars('apxs'), 'LIBEXECDIR') }

# The path of the first of these programs that is there, those of administrators among them; or nothing.
sub program {
    my (@names) = @_;
    my @folders = (File::Spec->path, qw(/usr/sbin /usr/bin /sbin));
    return (grep { -x } map { my $name = $_; map { "$_/$name" } @folders } @names)[0];
}

# A module of Python (import NAME) or Perl (NAME.pm), a file (/PATTERN), a module of httpd (mod_NAME.so), a program.
sub has {
    my ($sign) = @_;
    local $ENV{LD_PRELOAD} = '';
    return system("/usr/bin/python3 -c '$sign' >/dev/null 2>&1") == 0 if $sign =~ /^import /;
    return eval { require $sign } if $sign =~ /\.pm$/;
    return scalar(() = grep { -e } glob $sign) if $sign =~ m{^/};
    return -e modules() . "/$sign" if $sign =~ /\.so$/;
    return program($sign);
}

# Those of PACKAGES that are missing.
sub missing { my (@packages) = @_; return grep { !has($SIGN{$_} // $_) } @packages }

# What to say of PACKAGES when a test is skipped without them; nothing when all are there. In CI nothing is skipped:
# all tests end.
sub lacks {
    my (@packages) = @_;
    my @missing = missing(@packages) or return;
    Test::More::BAIL_OUT("not installed: @missing") if ($ENV{CI} // '') eq 'true';
    return "not installed: @missing";
}

# Skips the whole file, or the subtest, without these packages.
sub needs {
    my (@packages) = @_;
    my $why = lacks(@packages) or return;
    return Test::More::plan(skip_all => $why);
}

# Skips it without these modules of httpd, in CI as well, where httpd may be another one. Returns their folder.
sub needs_modules {
    my (@names) = @_;
    my ($none) = grep { !has("mod_$_.so") } @names;
    Test::More::plan(skip_all => "no mod_$none") if defined $none;
    return modules();
}

1;
