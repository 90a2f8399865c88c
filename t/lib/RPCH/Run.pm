package RPCH::Run;

# Apache::Test's runner, changed where these tests need something else.

use strict;
use warnings;
use Apache::TestRun ();
use Apache::TestConfig ();
use parent -norequire, 'Apache::TestRun';

# Values for the templates in t/conf, in addition to those of Apache::Test.
sub with { my ($self, %vars) = @_; $self->{more_vars} = \%vars; return $self }

sub new_test_config {
    my ($self) = @_;
    return RPCH::Config->new({ %{ $self->{conf_opts} }, %{ $self->{more_vars} } });
}

# Root may run the tests, because httpd's children can read the server root.
sub check_runtime_user { }

# Apache::Test would search the whole checkout for core files. RPCH::Root finds crashes in the error
# log instead.
sub scan_core { }
sub warn_core { }

# No advice to report bugs to httpd's developers.
sub try_bug_report { }

package RPCH::Config;

use strict;
use warnings;
use parent -norequire, 'Apache::TestConfig';

# The virtual hosts of the templates are not changed. Those that Apache::Test makes listen on all
# addresses.
sub parse_vhost { return }

# Each value of apxs is asked for once. Apache::Test would ask dozens of times for one that is empty,
# such as PREFIX.
sub apxs { my ($self, $name) = @_; return RPCH::Root::ask_apxs($self->{APXS}, $name) }

# httpd -V complains when its default configuration file is missing, as on Debian.
sub open_cmd { my ($self, $cmd) = @_; return $self->SUPER::open_cmd("$cmd 2>/dev/null") }

1;
