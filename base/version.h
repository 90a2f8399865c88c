/* base/version.h: the version, in this one place. tools/deb.sh reads it; t/unit/release_test.sh
 * holds CHANGES, debian/changelog and rpcping --version against it.
 */
#ifndef RPC_VERSION_H
#define RPC_VERSION_H

#define RPCPROXY_VERSION "1.0.0"

#endif
