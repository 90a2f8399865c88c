package RPCH::WarnLines;

# The lines of level warn or above that a private httpd logs for failed requests: one line each, with
# user, client, target, server, what was tried and why it failed.

use strict;
use warnings;
use Test::More ();
use RPCH::Poll qw(turn wait_for);
use RPCH::Test;

# HTTPD has to log at level warn, and to have a location /rpc/rpcproxy.dll that does not allow the target
# 127.0.0.1:1.
sub new { my ($class, $httpd) = @_; return bless { httpd => $httpd, user => 'alice', seen => 0 }, $class }

# Only lines that are logged from now on count.
sub begin { my ($self) = @_; $self->{seen} = length $self->{httpd}->log; return $self }

# Lines of httpd's own modules do not count, nor do the parent's lines about the endpoint process.
sub lines {
    my ($self) = @_;
    return grep { /\[rpcproxy:(?:warn|error|crit|alert|emerg)\]/ && !/\bendpoint process \d+/ } map { "$_\n" } split /\n/, substr $self->{httpd}->log, $self->{seen};
}

# Makes a request that is logged after the lines in question: when its line is in the log, all lines
# before it are.
sub settle {
    my ($self) = @_;
    my $ping = plain(port => $self->{httpd}{port}, target => '127.0.0.1:1');
    $ping->open_out;
    $ping->send_a1;
    $ping->out->wait_eof;
    wait_for('the last line', sub { turn(0.02); grep { /target 127\.0\.0\.1:1\b/ } $self->lines });
    $ping->close;
    return grep { !/target 127\.0\.0\.1:1$/ } $self->lines;
}

# Tests that there is exactly one line, and that it contains all of these words.
sub one_line {
    my ($self, $name, $reason, @parts) = @_;
    my $seen = eval { wait_for("the line of $name", sub { turn(0.02); $self->lines }) };
    my @lines = $self->settle;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::is(scalar @lines, 1, "$name: one line") or Test::More::diag(@lines);
    for my $part (qr/\b\Q$reason\E\b/, qr/user "\Q$self->{user}\E"/, qr/client 127\.0\.0\.1\b/, @parts) {
        Test::More::like($lines[0] // '', $part, "$name: $part");
    }
    $self->begin;
    return $lines[0];
}

sub no_line {
    my ($self, $name) = @_;
    my @lines = $self->settle;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::is(scalar @lines, 0, "$name: no line") or Test::More::diag(@lines);
    $self->begin;
    return;
}

1;
