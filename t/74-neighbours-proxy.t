# Other modules in the same virtual host that would take a channel: ProxyPass, RewriteRules, front
# controllers. This module serves a URL with SetHandler rpcproxy, and the others serve all other URLs.

use strict;
use warnings;
use IO::Socket::IP;
use Test::More;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::Root;
use RPCH::Test;

my $modules = needs_modules(qw(rewrite proxy proxy_http));

my $RPC = '/rpc/rpcproxy.dll';
my $server = server(echo => 1);
my $users = vars('serverroot') . '/conf/users';

# The application behind the proxies and the front controller: another httpd, which answers every method
# with a page.
my $app = RPCH::Httpd->new(conf => <<"CONF")->start;
LoadModule rewrite_module $modules/mod_rewrite.so
RewriteEngine On
RewriteRule ^ - [R=410]
CONF
my $back = "http://127.0.0.1:$app->{port}";

# What a site may have beside this module, each in a virtual host of its own. %s is its DocumentRoot.
my %neighbour = (
    'ProxyPass /'                       => "ProxyPass / $back/",
    'ProxyPass of the folder'           => "ProxyPass /rpc $back/rpc",
    'ProxyPassMatch'                    => "ProxyPassMatch (?i)^/rpc(.*)\$ $back/x\$1",
    'ProxyPass mapping=encoded'         => "ProxyPass / $back/ mapping=encoded",
    'Location with ProxyPass'           => "<Location /rpc>\nProxyPass $back/rpc\n</Location>",
    'Location with ProxyPass, any case' => "<LocationMatch (?i)^/rpc>\nProxyPass $back\n</LocationMatch>",
    'RewriteRule [P]'                   => "RewriteEngine On\nRewriteRule ^/(.*) $back/\$1 [P]",
    'RewriteRule [P] with a query'      => "RewriteEngine On\nRewriteRule ^/(.*) $back/\$1?none [P]",
    'RewriteRule [PT] to a controller'  => "RewriteEngine On\nRewriteRule !^/index /index.html [PT]",
    'RewriteRule to a controller'       => "RewriteEngine On\nRewriteRule !^/index /index.html [L]",
    'RewriteRule [P] of a directory'    => "<Directory %s>\nRewriteEngine On\nRewriteRule (.*) $back/\$1 [P]\n</Directory>",
    'RewriteRule [P] of a Location'     => "<Location />\nRewriteEngine On\nRewriteRule (.*) $back/x [P]\n</Location>",
    'RewriteRule of a directory'        => "<Directory %s>\nRewriteEngine On\nRewriteRule !^index /index.html\n</Directory>",
    'RewriteRule [H] of a directory'    => "<Directory %s>\nRewriteEngine On\nRewriteRule ^ - [H=default-handler]\n</Directory>",
    'FallbackResource'                  => 'FallbackResource /index.html',
    'a proxy that is closed'            => "ProxyPass / $back/\n<Proxy *>\nRequire all denied\n</Proxy>",
);
my @names = sort keys %neighbour;
my %port = map { $_ => RPCH::Root::free_ports(1) } @names, 'no file', 'no section', 'one section', 'files', 'version 1', 'later section';

my $root = vars('serverroot') . "/site-$$";
mkdir $_ for $root, "$root/rpc";
symlink 'loop', "$root/loop" or die $!;     # whoever looks into it fails
open my $fh, '>', "$root/index.html" or die $!;
print $fh "the controller\n";
close $fh;

sub section {
    my ($open, $close) = @_;
    return <<"CONF";
$open
SetHandler rpcproxy
AuthType Basic
AuthName rpc
AuthUserFile $users
Require valid-user
RpcRequireTLS off
RpcValidPorts "127.0.0.1:$server->{port}"
$close
CONF
}
sub host {
    my ($name, $lines) = @_;
    return "Listen 127.0.0.1:$port{$name}\n<VirtualHost 127.0.0.1:$port{$name}>\nServerName localhost\nDocumentRoot $root\n"
         . "$lines\n</VirtualHost>\n";
}
my $match = section('<LocationMatch "(?i)^/rpc(withcert)?/rpcproxy\.dll$">', '</LocationMatch>');
my $httpd = RPCH::Httpd->new(conf => join '', <<"CONF",
LoadModule rewrite_module $modules/mod_rewrite.so
LoadModule proxy_module $modules/mod_proxy.so
LoadModule proxy_http_module $modules/mod_proxy_http.so
<Directory $root>
    Require all granted
</Directory>
<Directory $root/loop>
    AllowOverride None
</Directory>
CONF
    (map { host($_, $match . $neighbour{$_} =~ s/%s/$root/r) } @names),
    host('no file', "DocumentRoot $root/loop\n$match"),
    host('no section', "ProxyPass / $back/"),
    host('one section', section("<Location $RPC>", '</Location>') . "ProxyPass / $back/"),
    host('later section', "$match<Location $RPC>\nSetHandler none\n</Location>\nProxyPass / $back/"),
    host('version 1', section('<LocationMatch "^/(rpc/rpcproxy\.dll)?$">', "RpcProtocolVersions v1 v2\n</LocationMatch>") . "ProxyPass / $back/"),
    host('files', section('<Files rpcproxy.dll>', '</Files>') . "ProxyPass / $back/"))->start;

sub at { my ($name, @request) = @_; return RPCH::HTTP->status_line($port{$name}, @request) }
sub channel { my ($name, $path) = @_; return plain(port => $port{$name}, path => $path, target => $server->target) }

for my $name (@names) {
    ok(channel($name, $_)->serves, "$name: a virtual connection at $_") for $RPC, '/RPC/RpcProxy.DLL';
    # This module refuses a target that is not allowed, and httpd does not wait for a body of 1 GiB
    for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
        like(at($name, $method, "$RPC?127.0.0.1:1", length => 1 << 30), qr/^HTTP\/1\.0 503 RPC Error: 6ba/,
            "$name: $method for a target that is not allowed");
    }
    is(at($name, 'RPC_IN_DATA', "$RPC?127.0.0.1:1", length => 1 << 30, user => undef), 'HTTP/1.1 401 Unauthorized', "$name: nobody");
    is(at($name, 'RPC_IN_DATA', $RPC), 'HTTP/1.1 200 Success', "$name: echo");
    is(at($name, 'GET', $RPC), 'HTTP/1.1 405 Method Not Allowed', "$name: GET");
}

# Other URLs still belong to the other modules.
for my $name (grep { /^ProxyPass (?:\/|map)|\[P\]/ } @names) {
    like(at($name, 'GET', '/other/page'), qr/ 410 /, "$name: other pages are the application's");
}
for my $name (grep { /controller|FallbackResource|RewriteRule of a/ } @names) {
    like(at($name, 'GET', '/other'), qr/ 200 OK/, "$name: other pages are the controller's");
}
like(at('no section', 'RPC_IN_DATA', $RPC), qr/ 410 /, 'without SetHandler rpcproxy nothing is ours');
like(at('later section', 'RPC_IN_DATA', $RPC), qr/ 410 /, 'nor where a later section has another SetHandler');

# A channel is no file, and none is looked for.
ok(channel('no file', $RPC)->serves, 'a virtual connection where the file system fails');
like(at('no file', 'GET', '/other'), qr/ 403 /, 'which it does');

# One section with a plain path. Clients of IIS write the path in any case.
ok(channel('one section', $_)->serves, "Location $RPC: $_") for $RPC, '/Rpc/RpcProxy.dll', '/RPC/RPCPROXY.DLL';
like(at('one section', 'GET', '/rpc/rpcproxy'), qr/ 410 /, 'another path is not ours');
ok(channel('files', $RPC)->serves, 'SetHandler in a section for files');

# Version 1 asks for the path /, which is a folder for other modules
like(at('version 1', 'RPC_CONNECT', '/?127.0.0.1:1', length => undef), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, 'version 1 at /');
like(at('version 1', 'GET', '/'), qr/ 410 /, 'GET / is the application\'s');

like($httpd->log, qr/rpcproxy:info\].*RPC_OUT_DATA \/rpc\/rpcproxy\.dll is not given to proxy:$back\/rpc\/rpcproxy\.dll: SetHandler rpcproxy is configured for it/,
    'the log says so');
unlike($app->log('access_log'), qr/RPC_(?:IN|OUT)_DATA (?!\/rpc\/rpcproxy\.dll HTTP)/, 'no channel has come to the application');
unlike($httpd->log, qr/exit signal|:(?:crit|alert|emerg)\]/, 'no child has died');
$server->close;
done_testing;
