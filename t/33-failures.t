# AuthNtlmFailures for Basic: who is blocked, until when, what is counted and what is not, what
# fail2ban finds in the log, and what configtest says. NTLM counts the same way: t/30-ntlm.t.
#
# Each topic has a location with its own length of the window, and its own addresses, because windows of
# different lengths count separately.

use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha1 sha1_base64);
use IO::Socket::IP;
use MIME::Base64 qw(encode_base64);
use RPCH::File qw(slurp put);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(modules program);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test;

my $root = vars('serverroot');
my $libexec = modules();
my $users = "$root/conf/users";

sub load { return "LoadModule $_[0]_module $libexec/mod_$_[0].so\n" }

# A location with a limit, in which each request gets the same document.
sub location {
    my ($path, $limit, $more) = @_;
    return "<Location /limited/$path>\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\nAuthNtlmFailures $limit\n"
           . ($more // 'Require valid-user') . "\n</Location>\n";
}

# A server with these locations. All documents contain "in".
sub httpd {
    my ($conf, %opt) = @_;
    my $h = RPCH::Httpd->new(%opt);
    mkdir "$h->{dir}/www" or die "$h->{dir}: $!\n";
    put("$h->{dir}/www/$_", "in\n") for qw(in.txt index.html denied.txt);
    $conf =~ s/WWW/$h->{dir}\/www/g;
    $h->configure("${conf}AliasMatch ^/limited/ $h->{dir}/www/in.txt\n");
    return $h;
}

# One request on a connection of its own. OPT: from (address), host, port, auth (header's value),
# headers.
sub ask {
    my ($h, $path, $user, $password, %opt) = @_;
    my $http = dial($h, %opt);
    my $answer = on($http, $path, $user, $password, %opt);
    $http->close;
    return $answer;
}

sub dial {
    my ($h, %opt) = @_;
    my $fh = IO::Socket::IP->new(PeerHost => $opt{host} // '127.0.0.1', PeerPort => $opt{port} // $h->{port},
                                 LocalHost => $opt{from} // '127.0.0.1') or die "no connection: $@\n";
    return RPCH::HTTP->new(fh => $fh, name => 'connection of ' . ($opt{from} // 'the test'));
}

sub on {
    my ($http, $path, $user, $password, %opt) = @_;
    my $auth = $opt{auth} // (defined $user ? 'Basic ' . encode_base64("$user:$password", '') : undef);
    $http->request(GET => "/limited/$path", headers => [defined $auth ? "Authorization: $auth" : (),
                                                        @{ $opt{headers} || [] }]);
    my $head = $http->head or return { status => 'closed' };
    my %headers = %{ $head->{headers} };
    delete $headers{date};
    return { status => $head->{status}, headers => \%headers, body => $http->body };
}

sub status { return ask(@_)->{status} }

sub seen { my ($h, $re) = @_; return scalar(() = $h->log =~ /$re/g) }

# mod_auth_basic logs each question to the provider.
sub asked { my ($h, $user) = @_; return seen($h, qr/user \Q$user\E(?: not found|: authentication failure)/) }


# The answers to several tries, such as "401 401 200".
sub tries {
    my ($h, $path, @tries) = @_;
    return join ' ', map { my ($user, $password, $from) = @$_; status($h, $path, $user, $password, from => $from) } @tries;
}

# A user whose password takes long to check.
my $slow = crypt('hidden', '$2y$12$' . 'abcdefghijklmnopqrstuu') // '';
$slow = '' if $slow !~ /^\$2y\$12\$.{53}$/;

my $port6 = have_ipv6() ? RPCH::Root::free_ports(1) : 0;
my $httpd = httpd(join '', load('remoteip'), "RemoteIPHeader X-Client\nRemoteIPInternalProxy 127.0.0.99\n",
    $port6 ? "Listen [::1]:$port6\n" : '',
    location('account', '3 600'), location('address', '3 601'), location('odd', '3 602'), location('success', '3 603'),
    location('domain', '3 612', "AuthNtlmOmitDomain On\nRequire valid-user"), location('tenants', '3 613', "AuthUserFile WWW/tenants.users\nRequire valid-user"),
    location('short', '2 2'), location('bob', '3 605', 'Require user bob'), location('all', '3 605'),
    location('document', '3 606', "Require valid-user\nErrorDocument 401 /denied.txt"),
    "Alias /denied.txt WWW/denied.txt\nAlias /limited/sub/ WWW/\n",
    "<Directory WWW>\nDirectoryIndex index.html\n<Files index.html>\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\n",
    "Require valid-user\nAuthNtlmFailures 3 607\n</Files>\n</Directory>\n",
    location('v6', '3 608'), location('parallel', '3 609', "AuthUserFile WWW/slow.users\nRequire valid-user"), location('open', 'off'));
put("$httpd->{dir}/www/tenants.users", join '', map { "alice\@$_.test:{SHA}" . sha1_base64("tenant $_") . "=\n" } qw(a b));
put("$httpd->{dir}/www/slow.users", "slow:$slow\n");
$httpd->start;

# ---- an account ----
{
    my @wrong = map { ask($httpd, 'account', 'alice', "guess$_", from => '127.0.1.1') } 1 .. 3;
    is(join(' ', map { $_->{status} } @wrong), '401 401 401', 'three wrong passwords');
    is(asked($httpd, 'alice'), 3, 'of which the provider is asked');
    my $unknown = ask($httpd, 'account', 'mallory', 'guess', from => '127.0.1.2');
    is_deeply($unknown, $wrong[0], 'an unknown user gets the same answer: status, headers, body');
    my $blocked = ask($httpd, 'account', 'alice', 'guess4', from => '127.0.1.3');
    is_deeply($blocked, $wrong[0], 'and so does a blocked try, from another address');
    is(status($httpd, 'account', 'alice', 'secret', from => '127.0.1.3'), 401, 'even with the right password');
    is(asked($httpd, 'alice'), 3, 'for the provider is not asked');
    is(status($httpd, 'account', $_, 'secret', from => '127.0.1.4'), 401, "\"$_\" is the same account")
        for 'ALICE', ' alice', "alice\t ", "\xef\xbd\x81lice", "al\xc2\xadice";
    is(status($httpd, 'account', 'RPCSRV\\alice', 'secret', from => '127.0.1.4'), 200, 'a domain makes it another account');
    is(status($httpd, 'domain', 'RPCSRV\\alice', 'guess', from => "127.0.14.$_"), 401, 'a wrong password') for 1 .. 3;
    is(status($httpd, 'domain', $_, 'secret', from => '127.0.14.4'), 401, "with AuthNtlmOmitDomain $_ is the same")
        for 'alice', 'RPCSRV\\alice', 'alice@contoso.test';
    is(tries($httpd, 'tenants', (map { ['alice@a.test', 'guess', "127.0.15.$_"] } 1 .. 3), ['alice@a.test', 'tenant a', '127.0.15.4'],
             ['alice@b.test', 'tenant b', '127.0.15.5'], ['alice@a.test', 'tenant a', '127.0.15.6']),
       '401 401 401 401 200 401', 'an account of one domain is none of another, and its login frees nobody');
    is(status($httpd, 'account', 'bob', 'hidden', from => '127.0.1.5'), 200, 'another user goes on');
    is(status($httpd, 'account', undef, undef, from => '127.0.1.1'), 401, 'without a password: 401 as ever');
    is(status($httpd, 'address', 'alice', 'secret', from => '127.0.1.5'), 200, 'another window counts apart');
    like($httpd->log, qr/:warn\] \[pid [^\]]*\] \[client 127\.0\.1\.1:\d+\] RPC\d{4}: AuthNtlmFailures: failed try from 127\.0\.1\.1, user "alice": wrong password or unknown user, account 3 and address 3 of 3 within 600 s$/m,
         'a failure is logged');
    like($httpd->log, qr/\[client 127\.0\.1\.3:\d+\] RPC\d{4}: AuthNtlmFailures: blocked try from 127\.0\.1\.3, user "alice": 3 failures of the account, passwords are not checked for another \d+ s$/m,
         'so is a blocked try');
    is(seen($httpd, qr/blocked try from 127\.0\.1\./), 7, 'each one once, and none without a password');
}

# ---- an address ----
{
    my @guesses = map { ["user$_", 'guess', '127.0.2.1'] } 1 .. 3;
    is(tries($httpd, 'address', @guesses, ['bob', 'hidden', '127.0.2.1']), '401 401 401 401', 'many users tried from one address: it is blocked');
    like($httpd->log, qr/blocked try from 127\.0\.2\.1, user "bob": 3 failures of the address/, 'and logged');
    is(status($httpd, 'address', 'bob', 'hidden', from => '127.0.2.2'), 200, 'another address goes on');
}

# ---- credentials that contain no user or no password ----
{
    is(status($httpd, 'odd', undef, undef, auth => $_, from => '127.0.3.1'), 401, "Authorization: $_")
        for 'Basic', 'Basic !!!', 'basic  ' . encode_base64(':guess', '');
    is(seen($httpd, qr/failed try from 127\.0\.3\.1, user "": no user in it/), 3, 'each counts for the address');
    is(status($httpd, 'odd', 'bob', 'hidden', from => '127.0.3.1'), 401, 'which is blocked');
    is(status($httpd, 'odd', undef, undef, auth => 'Bearer x', from => '127.0.3.2'), 401, 'another scheme');
    is(seen($httpd, qr/AuthNtlmFailures: .*127\.0\.3\.2/), 0, 'counts for nothing');
    is(tries($httpd, 'odd', map { [$_->[0], 'guess', "127.0.3.$_->[1]"] } ["J\xc3\x9cRG", 5], ["j\xc3\xbcrg", 6], ["J\xc3\xbcRG", 7], ["j\xc3\x9crg", 8]),
       '401 401 401 401', 'a name with an umlaut');
    is(seen($httpd, qr/blocked try from 127\.0\.3\.8,/), 1, 'is one account in every spelling');
    my $long = 'x' x 5000;
    is(tries($httpd, 'odd', map { [$long, 'guess', "127.0.3.$_"] } 11 .. 14), '401 401 401 401', 'a long name');
    is(seen($httpd, qr/blocked try from 127\.0\.3\.14, user "x{900}/), 1, 'is counted like any');
    my $fake = '[client 10.0.0.1] AuthNtlmFailures failed try from 10.0.0.1, user "b"';
    status($httpd, 'odd', "a\"\n[] $fake", 'guess', from => '127.0.3.20', headers => ["Referer: $fake"]);
    like($httpd->log, qr/\[client 127\.0\.3\.20:\d+\] RPC\d{4}: AuthNtlmFailures: failed try from 127\.0\.3\.20, user "a\\+"\\+n\[\] \[client 10\.0\.0\.1\]/,
         'an ugly name stays within its line');
}

# ---- a success does not lift a block; it makes the address known for this user ----
{
    my ($wrong, $right) = (sub { ['bob', 'guess', "127.0.4.$_[0]"] }, sub { ['bob', 'hidden', "127.0.4.$_[0]"] });
    is(tries($httpd, 'success', $wrong->(1), $right->(2), $wrong->(1), $right->(2), $wrong->(3), $wrong->(4), $right->(5)),
       '401 200 401 200 401 401 401', 'the right password takes no failure of others back');
    is(seen($httpd, qr/failed try from 127\.0\.4\./), 3, 'so there are no more guesses than the limit says');
    is(tries($httpd, 'success', $right->(2), $right->(6), $right->(2)), '200 401 200',
       'its owner goes on where it has succeeded, and nowhere else');
    is(tries($httpd, 'success', ['alice', 'secret', '127.0.4.3'], ['alice', 'secret', '127.0.4.2']), '200 200', 'another account goes on');
    is(tries($httpd, 'success', (map { ["user$_", 'guess', '127.0.4.2'] } 1 .. 3), $right->(2)), '401 401 401 401',
       'failures of the address itself block it, known or not');
}

# ---- the window ends although tries continue ----
{
    my $try = sub { status($httpd, 'short', 'alice', $_[0], from => '127.0.5.' . (1 + int rand 250)) };
    ok(eval { wait_for('a full window', sub { $try->('guess') for 1 .. 3; $httpd->log =~ /blocked try from 127\.0\.5\./ }) }, 'blocked');
    ok(eval { wait_for('its end', sub { turn(0.05); $try->('secret') == 200 }) }, 'until the window ends, which blocked tries do not put off');
}

# ---- tries at the same time: when the limit is reached while a right password is checked, which takes
# long, the client is not told that it was right ----
SKIP: {
    skip 'no bcrypt here', 2 if !$slow;
    is(status($httpd, 'parallel', 'slow', 'hidden', from => '127.0.12.2'), 200, 'a password that takes long to check');
    # Another try, in case the machine was slower than the check
    my @answers;
    for my $from (map { "127.0.12.1$_" } 1 .. 3) {
        my $http = dial($httpd, from => $from);
        $http->request(GET => '/limited/parallel', user => 'slow', password => 'hidden');
        status($httpd, 'parallel', "user$_$from", 'guess', from => $from) for 1 .. 3;
        push @answers, $http->head->{status};
        $http->close;
        last if $answers[-1] == 401;
    }
    is($answers[-1], 401, 'is refused when guesses beside it have reached the limit');
}

# ---- a 401 of authorization ----
is(tries($httpd, 'bob', map { ['alice', 'secret', '127.0.6.1'] } 1 .. 5), '401 401 401 401 401', 'Require user bob, and alice comes');
is(status($httpd, 'all', 'alice', 'secret', from => '127.0.6.1'), 200, 'her password was right: not blocked');
is(seen($httpd, qr/AuthNtlmFailures: .*127\.0\.6\.1/), 0, 'nothing counted');

# ---- ErrorDocument ----
{
    my $answer = ask($httpd, 'document', 'alice', 'guess', from => '127.0.7.1');
    is("$answer->{status} $answer->{body}", "401 in\n", 'an error document of its own');
    is(seen($httpd, qr/failed try from 127\.0\.7\.1,/), 1, 'is counted once, before it is sent');
    is(tries($httpd, 'document', (map { ['alice', 'guess', '127.0.7.1'] } 2 .. 3), ['alice', 'secret', '127.0.7.2']), '401 401 401', 'and blocks like any');
    is(seen($httpd, qr/failed try from 127\.0\.7\./), 3, 'three failures');
}

# ---- the password of a subrequest ----
{
    is(tries($httpd, 'sub/', (map { ['alice', 'guess', '127.0.8.1'] } 1 .. 3), ['alice', 'secret', '127.0.8.2']), '401 401 401 401', 'a directory whose index is protected');
    is(seen($httpd, qr/failed try from 127\.0\.8\.1,/), 3, 'each try counted once');
    is(status($httpd, 'sub/', 'bob', 'hidden', from => '127.0.8.2'), 200, 'another user goes on');
}

# ---- no limit ----
is(tries($httpd, 'open', (map { ['alice', 'guess', '127.0.9.1'] } 1 .. 5), ['alice', 'secret', '127.0.9.1']), '401 401 401 401 401 200', 'off: no limit');
is(seen($httpd, qr/AuthNtlmFailures: .*127\.0\.9\.1/), 0, 'and no line');

# ---- IPv6 ----
{
    my $as = sub {
        my ($address, $user, $password) = @_;
        return status($httpd, 'v6', $user, $password, from => '127.0.0.99', headers => ["X-Client: $address"]);
    };
    $as->("2001:db8:1:2:$_\::1", "user$_", 'guess') for 1 .. 3;
    is($as->('2001:db8:1:2:ffff::9', 'bob', 'hidden'), 401, 'an IPv6 network of 64 bits is one client');
    is($as->('2001:db8:1:3::1', 'bob', 'hidden'), 200, 'the next one is another');
    like($httpd->log, qr/blocked try from 2001:db8:1:2:ffff::9, user "bob"/, 'logged by its address');
    $as->('::ffff:192.0.2.1', "user$_", 'guess') for 4 .. 6;
    is($as->('192.0.2.1', 'bob', 'hidden'), 401, 'a mapped IPv4 address is the IPv4 address');
    is($as->('64:ff9b::192.0.2.1', 'bob', 'hidden'), 401, 'behind NAT64, too');
    is($as->('2002:c000:201::7', 'bob', 'hidden'), 401, 'and by 6to4');
    is($as->('::ffff:192.0.2.2', 'bob', 'hidden'), 200, 'and no network');
    SKIP: {
        skip 'no IPv6 here', 2 if !$port6;
        my @six = (host => '::1', port => $port6, from => '::1');
        status($httpd, 'v6', "user$_", 'guess', @six) for 7 .. 9;
        is(status($httpd, 'v6', 'bob', 'hidden', @six), 401, 'a client of IPv6');
        like($httpd->log, qr/\[client ::1:\d+\] RPC\d{4}: AuthNtlmFailures: blocked try from ::1, user "bob"/, 'logged');
    }
}

# ---- fail2ban ----
{
    my $filter = vars('top_dir') . '/conf/fail2ban/filter.d/rpcproxy.conf';
    my ($re) = slurp($filter) =~ /^failregex = (.+)$/m;
    $re =~ s/<ADDR>/([0-9A-Fa-f.:]+)/;
    # fail2ban removes the time before it compares a line
    my @lines = map { s/^\[[A-Z][^\]]*\]/[]/r } split /\n/, $httpd->log;
    my @ours = grep { /\] RPC0\d+: AuthNtlmFailures: (?:failed|blocked) try/ } @lines;
    my @found = map { $_ =~ $re ? $1 : () } @lines;
    is(@found, @ours, 'the filter finds every line');
    cmp_ok(scalar @found, '>', 40, scalar(@found) . ' of them');
    is_deeply([grep { /^10\./ } @found], [], 'and never an address that a client has made up');
    is(scalar(grep { $_ eq '127.0.1.1' } @found), 3, 'the right addresses');
    SKIP: {
        my $tool = program('fail2ban-regex') or skip 'no fail2ban-regex', 1;
        my $out = qx($tool $httpd->{dir}/error_log $filter 2>&1);
        like($out, qr/^Failregex: @{[scalar @ours]} total/m, 'fail2ban-regex says so, too') or diag $out;
    }
}
$httpd->stop;

# ---- all children count together ----
{
    my $h = httpd(location('all', '3 600'), mpm => 'prefork', limits => "ServerLimit 4\nStartServers 4\nMinSpareServers 1\nMaxRequestWorkers 4\n")->start;
    my @held = map { dial($h, from => "127.0.10.$_") } 1 .. 3;      # each is held by another child
    is(join(' ', map { on($_, 'all', 'alice', 'guess')->{status} } @held), '401 401 401', 'three children, a wrong password each');
    my %pids = map { $_ => 1 } $h->log =~ /\[pid (\d+)[^\]]*\] \[client [^\]]*\] RPC0\d+: AuthNtlmFailures: failed/g;
    is(scalar keys %pids, 3, 'three children have counted');
    is(status($h, 'all', 'alice', 'secret', from => '127.0.10.4'), 401, 'the account is blocked in the fourth');
    $_->close for @held;
    $h->signal('USR1');
    ok(eval { wait_for('a restart', sub { turn(0.02); seen($h, qr/resuming normal operations/) == 2 }) }, 'a graceful restart');
    is(tries($h, 'all', ['alice', 'secret', '127.0.10.5'], (map { ['alice', 'guess', '127.0.10.6'] } 1 .. 3), ['alice', 'secret', '127.0.10.7']),
       '200 401 401 401 401', 'forgets, and counts again');
    $h->stop;
}

# ---- many names in one part of the cache, chosen as if the hashes had no secret ----
{
    my $h = httpd("AuthNtlmFailuresSOCache shmcb:flood(131072)\n" . location('all', '3 600'))->start;
    my $part = sub { substr sha1("u600:$_[0]"), 0, 1 };      # the first byte of a hash without a secret
    my @meet = grep { $part->($_) eq $part->('bob') } map { "guess$_" } 1 .. 60_000;
    is(tries($h, 'all', map { ['bob', 'guess', "127.0.16.$_"] } 1 .. 3), '401 401 401', 'a full tally');
    is(tries($h, 'all', map { [$meet[$_], 'guess', '127.0.17.' . ($_ + 1)] } 0 .. 149), join(' ', ('401') x 150), 'stays');
    is(status($h, 'all', 'bob', 'hidden', from => '127.0.16.9'), 401, 'whatever other names are tried');
    $h->stop;
}

# ---- a cache that cannot be reached ----
{
    my $nobody = RPCH::Root::free_ports(1);
    my $h = httpd(load('socache_memcache') . "AuthNtlmFailuresSOCache memcache:127.0.0.1:$nobody\n" . location('all', '1 600'))->start;
    is(tries($h, 'all', ['alice', 'guess', '127.0.11.1'], ['alice', 'guess', '127.0.11.1'], ['alice', 'secret', '127.0.11.1']), '401 401 200',
       'without its cache passwords decide alone');
    like($h->log, qr/:error\].*AuthNtlmFailures: cannot count a failure \(cache memcache\); until it can, tries are not limited/, 'and the log says so');
    $h->stop;
}

# ---- two starts of httpd share a cache if they have the same secret ----
for (['the same secret', '0123456789abcdef', '0123456789abcdef', 401], ['another secret', '0123456789abcdef', 'fedcba9876543210', 200]) {
    my ($name, $first, $second, $want) = @$_;
    my $cache = vars('serverroot') . "/failures-$want";
    my $conf = sub { load('socache_dbm') . "AuthNtlmFailuresSOCache dbm:$cache\nAuthNtlmFailuresSecret $_[0]\n" . location('all', '1 600') };
    my $one = httpd($conf->($first))->start;
    is(status($one, 'all', 'alice', 'guess', from => '127.0.18.1'), 401, 'a wrong password');
    my $two = httpd($conf->($second))->start;
    is(status($two, 'all', 'alice', 'secret', from => '127.0.18.2'), $want, "is known to a server with $name: $want");
    $_->stop for $one, $two;
}

# ---- configtest ----
{
    my $h = RPCH::Httpd->new;
    my $location = location('all', '3 600');
    my $test = sub {
        my ($conf, $without) = @_;
        $h->configure($conf);
        if ($without) {
            my ($text, $modules) = map { slurp($_) } "$h->{dir}/httpd.conf", "$root/conf/modules.conf";
            $modules =~ s/^LoadModule socache_shmcb_module.*\n//mg;
            $text =~ s/^Include \S+\/modules\.conf\n/$modules/m;
            put("$h->{dir}/httpd.conf", $text);
        }
        return $h->configtest;
    };
    for (['the default cache', $location], ['no section, no cache', '', 1], ['off needs none', location('all', 'off'), 1],
         ['its mutex can be tuned', "Mutex file:$h->{dir} ntlm-failures\n$location"],
         ['another size', "AuthNtlmFailuresSOCache shmcb:failures(65536)\n$location"],
         ['a secret', "AuthNtlmFailuresSecret 0123456789abcdef\n$location"],
         ['another cache', load('socache_memcache') . "AuthNtlmFailuresSOCache memcache:127.0.0.1:11211\n$location", 1]) {
        my ($name, @args) = @$_;
        my ($status, $out) = $test->(@args);
        is($status, 0, $name) or diag $out;
        my $warned = $out =~ /AuthNtlmFailuresSOCache memcache: without AuthNtlmFailuresSecret each machine, .* set the same secret on all machines/ ? 1 : 0;
        is($warned, $name eq 'another cache' ? 1 : 0, "a warning: $warned");
    }
    for (['no shmcb', qr/AuthNtlmFailures: there is no cache "shmcb"; expected before: LoadModule socache_shmcb_module modules\/mod_socache_shmcb\.so; or choose another cache by AuthNtlmFailuresSOCache/, $location, 1],
         ['no such cache', qr/AuthNtlmFailuresSOCache: there is no cache "redis"; expected before: LoadModule socache_redis_module/, 'AuthNtlmFailuresSOCache redis:127.0.0.1:1'],
         ['a secret that is short', qr/AuthNtlmFailuresSecret: expected 16 characters or more that nobody can guess, such as/, 'AuthNtlmFailuresSecret 0123456789abcde'],
         ['size', qr/AuthNtlmFailuresSOCache: .*8192/, 'AuthNtlmFailuresSOCache shmcb:failures(100)'],
         ['per host', qr/cannot occur within <VirtualHost>/, "<VirtualHost *:1>\nAuthNtlmFailuresSOCache shmcb\n</VirtualHost>"]) {
        my ($name, $says, @args) = @$_;
        my ($status, $out) = $test->(@args);
        isnt($status, 0, "refused: $name");
        like($out, $says, 'and says why');
    }
}

done_testing;
