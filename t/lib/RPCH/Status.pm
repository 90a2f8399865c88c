package RPCH::Status;

# The status page of a private httpd, as a browser or a monitoring system asks for it.

use strict;
use warnings;
use Exporter 'import';
use HTTP::Tiny;
use JSON::PP qw(decode_json);
use RPCH::Poll qw(turn wait_for);

our @EXPORT_OK = qw(status_conf);

# A location of the page; MORE: further directives.
sub status_conf {
    my (%arg) = @_;
    my $path = $arg{path} // '/rpc-status';
    return "<Location $path>\nSetHandler rpcproxy-status\n" . ($arg{more} // "Require local\n") . "</Location>\n";
}

sub new {
    my ($class, %arg) = @_;
    return bless { path => '/rpc-status', http => HTTP::Tiny->new(timeout => 20), %arg }, $class;
}

sub url { my ($self, $query) = @_; return "http://127.0.0.1:$self->{port}$self->{path}" . ($query // '') }

# The answer of HTTP::Tiny.
sub get { my ($self, $query, %headers) = @_; return $self->{http}->get($self->url($query), { headers => \%headers }) }
sub html { my ($self, $query) = @_; return $self->get($query)->{content} }
sub json { my ($self, $query) = @_; return decode_json($self->get('?format=json' . ($query // ''))->{content}) }

# The token of the page's buttons, and a POST with it.
sub token { my ($self) = @_; return $self->html =~ /name="token" value="(\w+)"/ ? $1 : undef }
sub post {
    my ($self, $form, %headers) = @_;
    return HTTP::Tiny->new(timeout => 20, max_redirect => 0)->post_form($self->url, $form, { headers => \%headers });
}

# Samples of a metrics format, "name{labels}" => value.
sub samples {
    my ($self, $format) = @_;
    return map { /^([^# ]\S*(?:\{.*\})?) (\S+)$/ ? ($1 => $2) : () } split /\n/, $self->get('?format=' . ($format // 'openmetrics'))->{content};
}

# Waits until the page as JSON is as wanted: CHECK gets it.
sub awaits {
    my ($self, $check) = @_;
    my $json;
    return $json if eval { wait_for('the status', sub { turn(0.02); $json = $self->json; $check->($json) }) };
    return;
}

sub connection { my ($self, $json, $user) = @_; return (grep { $_->{user} eq $user } @{ $json->{connections} })[0] }

1;
