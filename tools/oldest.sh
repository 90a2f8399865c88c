#!/bin/bash
# usage: oldest.sh [FOLDER]. Builds the modules as for the oldest httpd that they are for, 2.4.52, in build/oldest, and
# tries what differs there. FOLDER has that httpd's own headers, all in one place, with its ap_config_auto.h. Without it
# the headers of the httpd that is installed are copied and say that they are 2.4.52's, so each branch for the older
# interface is compiled; that no name is used which came later is what tools/check_api.pl looks at.
set -euo pipefail
cd "$(dirname "$0")/.."
OLDEST=121      # MODULE_MAGIC_NUMBER_MINOR of 2.4.52, as in tools/check_api.pl
headers=${1:-build/oldest/include}
if [ $# -eq 0 ]; then
    mkdir -p "$headers"
    cp "$("${APXS:-apxs}" -q INCLUDEDIR)"/*.h "$headers"
    sed -i "s/^\(#define MODULE_MAGIC_NUMBER_MINOR\) [0-9]*/\1 $OLDEST/" "$headers/ap_mmn.h"
fi
minor=$(sed -n 's/^#define MODULE_MAGIC_NUMBER_MINOR *\([0-9]*\).*/\1/p' "$headers/ap_mmn.h")
[ "$minor" = "$OLDEST" ] || { echo "oldest: $headers has the module interface .$minor, not .$OLDEST" >&2; exit 1; }
make -s BUILD=build/oldest HTTPD_CF="-isystem $headers" module

# A newer httpd loads them, and the older names still work there.
[ $# -gt 0 ] || RPCPROXY_SO=build/oldest/mod_rpcproxy.so perl t/TEST t/81-upstream.t
