package RPCH::CA;

# A private certification authority, made with openssl: certificates for people, and a list of
# those that it has revoked. All its files are in a folder below the run's server root.

use strict;
use warnings;
use File::Path ();
use RPCH::File qw(put);
use RPCH::Test qw(vars);

my $serial = 0;

sub new {
    my ($class, $name) = @_;
    my $dir = vars('serverroot') . "/ca-$$-" . ++$serial;
    mkdir $dir or die "$dir: $!\n";
    my $self = bless { dir => $dir, owner => $$ }, $class;
    $self->write('index', '');
    $self->write('serial', "01\n");
    $self->write('crlnumber', "01\n");
    $self->write('openssl.cnf', <<"CONF");
[req]
prompt = no
distinguished_name = name
[name]
O = Contoso
CN = $name
[ca]
default_ca = this
[this]
database = $dir/index
serial = $dir/serial
crlnumber = $dir/crlnumber
new_certs_dir = $dir
certificate = $dir/ca.crt
private_key = $dir/ca.key
default_md = sha256
default_days = 2
default_crl_days = 2
policy = any
x509_extensions = person
[any]
organizationName = optional
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[person]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
CONF
    $self->openssl("req -x509 -days 2 -extensions authority -keyout $dir/ca.key -out $dir/ca.crt -newkey rsa:2048 -nodes");
    return $self->list;
}

sub write { my ($self, $name, $text) = @_; return put("$self->{dir}/$name", $text) }

sub openssl {
    my ($self, $command) = @_;
    my ($what, $rest) = split / /, $command, 2;
    my $text = qx(openssl $what -config $self->{dir}/openssl.cnf $rest 2>&1);
    die "openssl $command: $text\n" if $?;
    return;
}

# Options of IO::Socket::SSL with the certificate of a person.
sub person {
    my ($self, $name) = @_;
    my $file = "$self->{dir}/$name";
    $self->openssl("req -new -newkey rsa:2048 -nodes -subj '/O=Contoso/CN=$name' -keyout $file.key -out $file.csr");
    $self->openssl("ca -batch -notext -in $file.csr -out $file.crt");
    return { SSL_cert_file => "$file.crt", SSL_key_file => "$file.key" };
}

# Revokes a person's certificate.
sub revoke {
    my ($self, $name) = @_;
    $self->openssl("ca -revoke $self->{dir}/$name.crt");
    return $self->list;
}

sub list { my ($self) = @_; $self->openssl("ca -gencrl -out $self->{dir}/ca.crl"); return $self }

sub certificate { my ($self) = @_; return "$self->{dir}/ca.crt" }
sub revocations { my ($self) = @_; return "$self->{dir}/ca.crl" }

sub DESTROY {
    my ($self) = @_;
    File::Path::remove_tree($self->{dir}) if $self->{owner} == $$;
    return;
}

1;
