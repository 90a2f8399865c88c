/* dce: what a DCE/RPC client and server need beyond framing (wire/dcerpc.h): writing the common
 * header of a growing PDU, the interfaces we speak, and names for interfaces and status codes.
 */
#ifndef DCE_H
#define DCE_H

#include "ndr.h"

/* pfc_flags (C706 12.6.3.1) */
#define DCE_PFC_FIRST           0x01
#define DCE_PFC_LAST            0x02
#define DCE_PFC_DID_NOT_EXECUTE 0x20
#define DCE_PFC_OBJECT          0x80

/* common header, alloc_hint, context, opnum; also a response's */
#define DCE_REQUEST_HEADER      24
#define DCE_MIN_FRAG            1432    /* every implementation takes fragments of this size */

/* p_cont_def_result_t and p_provider_reason_t (C706 12.6.3.1) */
#define DCE_ACCEPTED            0
#define DCE_PROVIDER_REJECTION  2
#define DCE_NO_INTERFACE        1
#define DCE_NO_SYNTAX           2
#define DCE_LOCAL_LIMIT         3

/* Status codes of faults (C706 appendix E, [MS-RPCE]) */
#define DCE_FAULT_BAD_STUB      0x000006f7u
#define DCE_FAULT_NO_MEMORY     0x1c00001bu
#define DCE_FAULT_OP_RANGE      0x1c010002u
#define DCE_FAULT_UNKNOWN_IF    0x1c010003u
#define DCE_FAULT_PROTOCOL      0x1c01000bu

extern const ndr_syntax_t dce_syntax_ndr;   /* transfer syntax NDR 2.0 */
extern const ndr_syntax_t dce_syntax_mgmt;  /* remote management 1.0 */
extern const ndr_syntax_t dce_syntax_echo;  /* rpcecho 1.0 */

/* Do both have the same UUID and major version, and does OFFERED cover the minor version? */
int dce_syntax_serves(const ndr_syntax_t *offered, const ndr_syntax_t *asked);

/* Starts a PDU in the empty OUT; its frag_length is written by dce_finish(). */
void dce_begin(ndr_out_t *out, uint8_t ptype, uint8_t flags, uint32_t call_id);
void dce_finish(ndr_out_t *out);

/* "samr", or NULL when it has no name in firewall/interfaces. */
const char *dce_interface_name(const ndr_uuid_t *uuid);
/* The status of a fault, or the error of an "RPC Error: 6ba", in words; NULL: unknown. */
const char *dce_status_text(uint32_t status);
/* Why a presentation context was rejected. */
const char *dce_reject_text(uint16_t reason);
/* Why a bind_nak was sent. */
const char *dce_nak_text(uint16_t reason);

#endif
