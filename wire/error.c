/* wire/error.c: one ExtendedErrorInfo record ([MS-EERR] 2.2.1.8) by type serialization
 * version 1 ([MS-RPCE] 2.2.6), in base64. The record's top-level type is the pointer
 * ExtendedErrorInfoPtr, the last of the specification's IDL (appendix A).
 */
#include "wire/error.h"

#include <stdint.h>
#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>

#define RPC_PROXY 0x0E          /* GeneratingComponent, [MS-EERR] 2.2.3 */
/* eecnpNotPresent: clients do not need to know the name of this machine */
#define NAME_NOT_PRESENT 2
#define RECORD_SIZE 48          /* with the padding to 8 bytes */
#define BLOB_SIZE (8 + 8 + RECORD_SIZE)
/* From 1601, in units of 100 ns, to 1970. */
#define EPOCH_1970 UINT64_C(116444736000000000)

static void eeinfo_put(uint8_t *at, uint64_t value, unsigned size)
{
    while (size--) {
        *at++ = (uint8_t)value;
        value >>= 8;
    }
}

static void eeinfo_encode(uint8_t blob[BLOB_SIZE], const rpc_reason_info_t *info, apr_time_t when)
{
    uint8_t *record = blob + 16;

    memset(blob, 0, BLOB_SIZE);
    eeinfo_put(blob, 0xCCCCCCCC00081001, 8);       /* common type header: version 1, LE */
    eeinfo_put(blob + 8, RECORD_SIZE, 4);          /* private header */
    eeinfo_put(record, 0x00020000, 4);             /* the pointer's referent */
                                            /* 4: number of parameters; 8: no next record */
    eeinfo_put(record + 12, NAME_NOT_PRESENT, 2);
    eeinfo_put(record + 14, NAME_NOT_PRESENT, 2);  /* the union's discriminant */
                                            /* 16: no process identifier */
    eeinfo_put(record + 24, EPOCH_1970 + (uint64_t)when * 10, 8);
    eeinfo_put(record + 32, RPC_PROXY, 4);
    eeinfo_put(record + 36, info->rpc_error, 4);
    eeinfo_put(record + 40, info->location, 2);
                                            /* 42: flags, all records are here; 44: nLen */
}

void rpc_error_write(rpc_error_t *error, rpc_reason_t reason, apr_time_t when)
{
    const rpc_reason_info_t *info = rpc_reason_info(reason);
    uint8_t blob[BLOB_SIZE];
    char text[(BLOB_SIZE + 2) / 3 * 4 + 1];

    eeinfo_encode(blob, info, when);
    apr_base64_encode_binary(text, blob, BLOB_SIZE);
    error->status = info->http_status;
    apr_snprintf(error->phrase, sizeof(error->phrase), "RPC Error: %x, EEInfo: %s",
                 info->rpc_error, text);
    error->body_length = (size_t)apr_snprintf(error->body, sizeof(error->body),
                                              "RPC EEInfo:%s\r\n", text);
}
