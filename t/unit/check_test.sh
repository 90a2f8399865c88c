#!/bin/bash
# Do the checks of `make check` notice what they are for? Wrong lines are planted in copies.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
top=$PWD
build=$(cd "${BUILD:-build}" && pwd) || exit
httpd=${HTTPD:-$(apxs -q SBINDIR)/$(apxs -q PROGNAME)}
. t/unit/tap.sh

includes() { (cd "$dir/src" && awk -f "$OLDPWD/tools/check_includes.awk" ./*.[ch] ./*/*.[ch] > "$dir/said" 2>&1); }
circles() { tools/check_circles.sh "$dir"/*.o > "$dir/said" 2>&1; }
says() { local word; for word; do grep -qF -- "$word" "$dir/said" || return; done; }
caught() { ! includes && says "$@"; }
circle() { ! circles && says "$@"; }

# FILE includes HEADER, at its end; the check fails and names the file.
plant() {
    cp -p "$dir/src/$1" "$dir/kept"
    echo "#include \"$2\"" >> "$dir/src/$1"
    ok "$1 may not include $2" caught "$1:" "\"$2\""
    cp -p "$dir/kept" "$dir/src/$1"
}

mkdir "$dir/src"
cp -r ./*.[ch] auth base endpoint firewall httpd io ntlm proxy shared target wire "$dir/src"
ok 'the sources are as they should be' includes
plant base/log.c wire/rts.h
plant wire/rts.c io/loop.h
plant io/stream.c wire/rts.h
plant shared/health.h io/loop.h
plant target/dial.c proxy/spec.h
plant firewall/rules.c target/dial.h
plant proxy/virtual.h endpoint/vc.h
plant proxy/inbound.c rpc_channel.h
plant endpoint/relay.c proxy/spec.h
plant rpc_channel.h shared/health.h
plant httpd/detach.c mod_rpcproxy.h
plant ntlm/spnego.c wire/rts.h
plant auth/failures.c httpd/config.h
plant auth_ntlm.c httpd/config.h
plant wire/flow.c flow.h
mkdir "$dir/src/cellar"
echo '#include "base/log.h"' > "$dir/src/cellar/wine.c"
ok 'a folder that is not in the table' caught cellar/wine.c:1

# The longest line that may be, and one that is longer.
lines() { awk -f tools/check_lines.awk "$dir/line.c" > "$dir/said" 2>&1; }
too_long() { ! lines && says "$@"; }
printf '/* %94s */\n' wine > "$dir/line.c"
ok 'a line of 100 columns' lines
printf 'int ok;\n/* %95s */\n' wine > "$dir/line.c"
ok 'a line of 101 columns' too_long line.c:2: '101 columns'
rm "$dir/line.c"

# A folder of headers in which a function has come after 2.4.52, and a source that calls it.
api() { tools/check_api.pl "$dir" "$dir/api.c" > "$dir/said" 2>&1; }
too_new() { ! api && says "$@"; }
printf ' * 20120211.121 (2.4.51-dev) Add ap_old_one()\n * 20120211.122 (2.4.53-dev) Add ap_new_one()\n */\n' > "$dir/ap_mmn.h"
printf '/* ap_new_one() */\nap_old_one();\n#if AP_MODULE_MAGIC_AT_LEAST(20120211, 122)\nap_new_one();\n#endif\n' > "$dir/api.c"
ok 'what httpd 2.4.52 has, and what is guarded' api
echo 'ap_new_one();' >> "$dir/api.c"
ok 'what httpd 2.4.52 does not have' too_new api.c:6: ap_new_one

# Citations: a comment is planted that names a heading, a document or a number.
citations() { (cd "$dir/src" && "$OLDPWD/tools/check_citations.pl" > "$dir/said" 2>&1); }
astray() { ! citations && says "$@"; }
cite() {
    echo "/* $2 */" > "$dir/src/io/cite.c"
    ok "$1" astray io/cite.c:1 "$3"
}

cp -r doc "$dir/src"
ok 'the citations are as they should be' citations
cite 'a heading that is not there' "doc/protocol.md, \"The cellar\"" 'The cellar'
cite 'a document that is not there' "see cellar.""md" 'there is no doc/cellar'
cite 'the number of a note' "(n""35)" 'names no section'
rm "$dir/src/io/cite.c"
echo '[cellar](#cellar)' >> "$dir/src/doc/protocol.md"
ok 'a link that leads nowhere' astray doc/protocol.md '#cellar'
echo '[cellar](fronts.md#cellar)' >> "$dir/src/doc/index.md"
ok 'one to another chapter' astray doc/index.md 'fronts.md#cellar'
sed -i '/cellar/d' "$dir/src/doc/protocol.md" "$dir/src/doc/index.md"

# Messages: one without an id, a second one with the id of another, one without a row, and the like.
messages() { (cd "$dir/src" && "$OLDPWD/tools/check_messages.pl" > "$dir/said" 2>&1); }
mute() { ! messages && says "$@"; }
said() {
    echo "static void say(void) { $2; }" > "$dir/src/io/say.c"
    ok "$1" mute io/say.c:1 "$3"
    rm "$dir/src/io/say.c"
}
cp -r delegate "$dir/src"
ok 'the messages are as they should be' messages
said 'a line without an id' 'rpc_log(log, RPC_LOG_WARN, 0, "cellar")' 'has no id'
said 'an id that another has' 'rpc_log(log, RPC_LOG_WARN, 0, RPCNO(0008) "cellar")' 'RPC0008 stands at'
said 'an id that is not below the next' 'rpc_log(log, RPC_LOG_WARN, 0, RPCNO(9999) "cellar")' 'not below'
said 'an id without a row' 'rpc_log(log, RPC_LOG_WARN, 0, RPCNO(9999) "cellar")' 'no row'
said 'a line at debug with an id' 'rpc_log(log, RPC_LOG_DEBUG, 0, RPCNO(9999) "cellar")' 'have no id'
# edit FILE SED-COMMAND NAME COMMAND...: a fault is planted, found, and taken back.
edit() {
    local file=$dir/src/$1 how=$2 name=$3
    shift 3
    cp -p "$file" "$dir/kept"
    sed -i "$how" "$file"
    if cmp -s "$file" "$dir/kept"; then ok "$name: it is planted" false; else ok "$name" "$@"; fi
    cp -p "$dir/kept" "$file"
}
row() { edit doc/messages.md "$2" "$1" mute "$3"; }
row 'a row without a message' '$a | RPC9999 | err | cellar | It is dark there. | Light a lamp. |' 'no message RPC9999'
row 'a row that is gone' '/RPC0008/d' 'RPC0008 has no row'
row 'another text' 's/can be looked up again/is in the cellar/' 'RPC0008 says'
row 'another level' 's/RPC0008 | notice/RPC0008 | err/' 'level of RPC0008'
row 'an id that is used again' 's/RPC0008 | notice/RPC0008 | gone/' "another message's"

# Reasons: each has one row, with a cause and a cure.
reasons() { (cd "$dir/src" && "$OLDPWD/tools/check_reasons.pl" > "$dir/said" 2>&1); }
unreasoned() { ! reasons && says "$@"; }
reason() { edit doc/reasons.md "$2" "$1" unreasoned "$3"; }
ok 'the reasons are as they should be' reasons
reason 'a reason without a row' '/^| anonymous |/d' 'anonymous has no row'
reason 'a row without a reason' '$a | cellar | It is dark there. | Light a lamp. |' 'no reason cellar'
reason 'a row without a cure' 's/^\(| anonymous | [^|]* |\).*/\1 |/' 'anonymous has no cause'
reason 'two rows' 's/^| anonymous |.*/&\n&/' 'anonymous has two rows'

# The reference: held against what `httpd -L` says of the modules that are built.
manual() { (cd "$dir/src" && "$top/tools/manual.pl" check "$build" "$httpd" > "$dir/said" 2>&1); }
untrue() { ! manual && says "$@"; }
directive() { edit doc/mod_rpcproxy.md "$2" "$1" untrue "$3"; }
ok 'the manual is as it should be' manual
directive 'a directive without an entry' '/^## RpcProfile$/,/^## RpcProtocol/{/^## RpcProtocol/!d}' 'no entry for RpcProfile'
directive 'an entry without a directive' 's/^## RpcProfile$/## RpcCellar/' 'RpcCellar: no module has this directive'
directive 'two entries' 's/^## RpcProtocolVersions$/## RpcProfile/' 'RpcProfile has two entries'
directive 'an entry without a field' '/^## RpcProfile$/,/^- .*Override/{/Override/d}' 'the field Override is missing'
directive 'an entry without an example' '/^## RpcMinAuthLevel$/,/^## RpcNspi/{/^RpcMinAuthLevel/d}' 'RpcMinAuthLevel: no example'
directive 'another context' '/^## RpcProfile$/,/^- .*Context/s/server config, virtual host, directory/server config/' 'Context is "server config"'
directive 'another module' '/^## RpcProfile$/,/^- .*Module/s/mod_rpcproxy$/mod_cellar/' 'Module is mod_rpcproxy'
directive 'another default' '/^## RpcIOThreads$/,/^- .*Default/s/RpcIOThreads 1/RpcIOThreads 7/' 'RpcIOThreads: httpd -L says'
edit doc/variables.md 's/^## RPC_REASON$/## RPC_CELLAR/' 'a variable that nobody sets' untrue 'RPC_REASON is missing' 'no source sets RPC_CELLAR'

# The pages of man: what has no form there is not left out.
page() { (cd "$dir/src" && "$top/tools/man_page.pl" doc/rpcping.md 1 > "$dir/page" 2> "$dir/said"); }
no_page() { ! page && says "$@"; }
ok 'a chapter becomes a page' page
edit doc/rpcping.md '$a \\n| a | table |' 'a table' no_page 'a table has no form'
edit doc/rpcping.md '2,5d' 'a chapter that says not what it is' no_page 'no name and fields'

# The release: version and license.
release() { (cd "$dir/src" && "$top/tools/check_release.pl" > "$dir/said" 2>&1); }
torn() { ! release && says "$@"; }
cp -r debian CHANGES LICENSE README SECURITY.md "$dir/src"
ok 'version and license are as they should be' release
edit CHANGES 's/^Changes with mod_rpcproxy .*/Changes with mod_rpcproxy 0.1.2/' 'another version in CHANGES' torn 'CHANGES: says 0.1.2'
edit debian/changelog '1s/(.*)/(0.1.2)/' "in Debian's changelog" torn 'debian/changelog: says 0.1.2'
edit base/version.h 's/"[0-9.]*"/"9.8.7"/' 'in the header' torn 'instead of 9.8.7'
edit mod_rpcproxy.c 's|"mod_rpcproxy/" RPCPROXY_VERSION|"mod_rpcproxy/1.0.0"|' 'one in a source' torn 'mod_rpcproxy.c: writes the version'
edit doc/fronts.md '$a since mod_rpcproxy 99.0.0' 'a version that is to come' torn 'no such version yet'
edit debian/copyright 's/^License: .*/License: MIT/' 'another license of the package' torn 'says MIT'
edit debian/copyright 's/^Copyright: .*/Copyright: the cellar/' 'another holder' torn 'says the cellar'
edit io/loop.c '1i /* SPDX-License-Identifier: MIT */' 'a file with a license of its own' torn 'io/loop.c: has the license MIT'

# Three objects; the circle is closed by what the last of them needs.
compile() { echo "$2" | ${CC:-cc} -x c -c -o "$dir/$1.o" -; }
compile one   'int two(void); int one(void) { return two(); }'
compile two   'int three(void); extern int x_module; int two(void) { return three() + x_module; }'
compile three 'int x_module; int three(void) { return 0; }'
ok 'objects that need each other downhill' circles
compile three 'int x_module; int one(void); int three(void) { return one(); }'
ok 'objects in a circle' circle one.o two.o three.o
compile three 'int x_module = 3; int three(void) { return 0; }'
compile one   'extern int x_module; int two(void); int one(void) { return two() + x_module; }'
ok "a module's record does not count" circles

echo "1..$tests"
