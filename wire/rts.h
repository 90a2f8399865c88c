/* rts: RTS PDUs, the control PDUs of RPC over HTTP ([MS-RPCH] 2.2.3, 2.2.4).
 *
 * A constant table holds every PDU of 2.2.4: its name, section, the hops it
 * travels on, flags and commands. The reader, the writer, the log and the tests
 * use that one table. Bytes only: no sockets, no httpd, no allocation.
 */
#ifndef RTS_H
#define RTS_H

#include <stddef.h>
#include <stdint.h>

#define RTS_HEADER_SIZE   20  /* 2.2.3.6.1: common header, flags, count */
#define RTS_MAX_COMMANDS  8   /* no PDU of 2.2.4 has more than 7 */
#define RTS_MAX_SIZE      160 /* largest PDU that is ever written (CONN/B2 with IPv6: 140) */

/* 2.1.1.2.1, 2.1.2.2.1: the first bytes of a server on every connection, without the NUL. */
#define RTS_BANNER        "ncacn_http/1.0"
#define RTS_BANNER_SIZE   14

/* Bounds of values: ConnectionTimeout (2.2.3.5.3), ChannelLifetime (2.2.3.5.5), in bytes, and the
 * meaning of ClientKeepalive 0 (2.2.3.5.6). wire/flow.h has those of ReceiveWindowSize. */
#define RTS_TIMEOUT_MIN_SECONDS  120
#define RTS_TIMEOUT_MAX_SECONDS  14400
#define RTS_LIFETIME_MIN         131072
#define RTS_LIFETIME_MAX         INT64_C(2147483648)
#define RTS_KEEPALIVE_DEFAULT_MS 300000

/* 2.2.3.6.1 Flags */
#define RTS_FLAG_NONE            0x0000
#define RTS_FLAG_PING            0x0001
#define RTS_FLAG_OTHER_CMD       0x0002
#define RTS_FLAG_RECYCLE_CHANNEL 0x0004
#define RTS_FLAG_IN_CHANNEL      0x0008
#define RTS_FLAG_OUT_CHANNEL     0x0010
#define RTS_FLAG_EOF             0x0020
#define RTS_FLAG_ECHO            0x0040

/* 2.2.3.5 RTS commands */
typedef enum {
    RTS_CMD_RECEIVE_WINDOW_SIZE = 0x0,
    RTS_CMD_FLOW_CONTROL_ACK = 0x1,
    RTS_CMD_CONNECTION_TIMEOUT = 0x2,
    RTS_CMD_COOKIE = 0x3,
    RTS_CMD_CHANNEL_LIFETIME = 0x4,
    RTS_CMD_CLIENT_KEEPALIVE = 0x5,
    RTS_CMD_VERSION = 0x6,
    RTS_CMD_EMPTY = 0x7,
    RTS_CMD_PADDING = 0x8,
    RTS_CMD_NEGATIVE_ANCE = 0x9,
    RTS_CMD_ANCE = 0xA,
    RTS_CMD_CLIENT_ADDRESS = 0xB,
    RTS_CMD_ASSOCIATION_GROUP_ID = 0xC,
    RTS_CMD_DESTINATION = 0xD,
    RTS_CMD_PING_TRAFFIC_SENT_NOTIFY = 0xE,
    RTS_CMD_COUNT
} rts_command_type_t;

/* 2.2.3.3 Forward destinations */
typedef enum {
    RTS_FD_CLIENT = 0, RTS_FD_IN_PROXY = 1, RTS_FD_SERVER = 2, RTS_FD_OUT_PROXY = 3
} rts_destination_t;

/* One direction of one connection. A PDU may travel on several. */
typedef enum {
    RTS_HOP_C_IP = 0x01,  /* client to inbound proxy: IN request body */
    RTS_HOP_IP_C = 0x02,  /* inbound proxy to client: echo answer only */
    RTS_HOP_IP_S = 0x04,  /* inbound proxy to server: IN leg */
    RTS_HOP_S_IP = 0x08,
    RTS_HOP_C_OP = 0x10,  /* client to outbound proxy: OUT request body */
    RTS_HOP_OP_C = 0x20,  /* OUT response body */
    RTS_HOP_OP_S = 0x40,  /* outbound proxy to server: OUT leg */
    RTS_HOP_S_OP = 0x80
} rts_hop_t;

/* Every PDU of 2.2.4, in the order of its sections. */
typedef enum {
    RTS_UNKNOWN = 0,
    RTS_CONN_A1, RTS_CONN_A2, RTS_CONN_A3, RTS_CONN_B1, RTS_CONN_B2, RTS_CONN_B3,
    RTS_CONN_C1, RTS_CONN_C2,
    RTS_IN_R1_A1, RTS_IN_R1_A2, RTS_IN_R1_A3, RTS_IN_R1_A4, RTS_IN_R1_A5,
    RTS_IN_R1_A6, RTS_IN_R1_B1, RTS_IN_R1_B2,
    RTS_IN_R2_A1, RTS_IN_R2_A2, RTS_IN_R2_A3, RTS_IN_R2_A4, RTS_IN_R2_A5,
    RTS_OUT_R1_A1, RTS_OUT_R1_A2, RTS_OUT_R1_A3, RTS_OUT_R1_A4, RTS_OUT_R1_A5,
    RTS_OUT_R1_A6, RTS_OUT_R1_A7, RTS_OUT_R1_A8, RTS_OUT_R1_A9, RTS_OUT_R1_A10,
    RTS_OUT_R1_A11,
    RTS_OUT_R2_A1, RTS_OUT_R2_A2, RTS_OUT_R2_A3, RTS_OUT_R2_A4, RTS_OUT_R2_A5,
    RTS_OUT_R2_A6, RTS_OUT_R2_A7, RTS_OUT_R2_A8, RTS_OUT_R2_B1, RTS_OUT_R2_B2,
    RTS_OUT_R2_B3, RTS_OUT_R2_C1,
    RTS_KEEP_ALIVE, RTS_PING_TRAFFIC_SENT_NOTIFY, RTS_ECHO, RTS_PING,
    RTS_FLOW_CONTROL_ACK, RTS_FLOW_CONTROL_ACK_WITH_DESTINATION,
    RTS_PDU_COUNT
} rts_pdu_id_t;

/* 2.2.3.1: 16 opaque bytes; compare with rts_cookie_equal(). */
typedef struct rts_cookie { uint8_t b[16]; } rts_cookie_t;

/* 2.2.3.5.2 */
typedef struct rts_ack {
    uint32_t bytes_received;
    uint32_t available_window;
    rts_cookie_t cookie;    /* of the channel acknowledged */
} rts_ack_t;

/* 2.2.3.2; addr in network order, as in struct in_addr / in6_addr. */
typedef struct rts_address {
    int ipv6;               /* 0: IPv4, 4 bytes used; 1: IPv6, 16 bytes */
    uint8_t addr[16];
} rts_address_t;

typedef struct rts_command {
    uint32_t type;          /* rts_command_type_t */
    union {
        uint32_t u32;       /* RW, CT, CL, KA, V, D, PT; length of PAD */
        rts_cookie_t cookie;/* CK, AG */
        rts_ack_t ack;      /* FCA */
        rts_address_t address;
    } u;
} rts_command_t;

/* A decoded RTS PDU; a plain value, copy it freely. */
typedef struct rts_pdu {
    uint16_t flags;
    uint16_t count;
    rts_command_t cmd[RTS_MAX_COMMANDS];
} rts_pdu_t;

/* A row of the table. */
typedef struct rts_pdu_info {
    rts_pdu_id_t id;
    const char *name;       /* "CONN/A1", "FlowControlAckWithDestination" */
    const char *section;    /* "2.2.4.2" */
    unsigned hops;          /* rts_hop_t bits on which it travels */
    uint16_t flags;
    uint16_t count;
    uint8_t cmd[RTS_MAX_COMMANDS]; /* rts_command_type_t, in order */
    int destination;        /* value of its leading Destination, or -1 (none) or -2 (varies) */
} rts_pdu_info_t;

/* The row of a PDU; of RTS_UNKNOWN a row named "unknown RTS PDU". */
const rts_pdu_info_t *rts_info(rts_pdu_id_t id);

/* Decodes one whole RTS PDU of LEN bytes (LEN must equal its frag_length).
 * Returns NULL, or what is wrong with it as a constant string: a wrong value of a
 * header field that 2.2.3.6.1 fixes, an unknown command, a command cut short, bytes
 * left over, more than RTS_MAX_COMMANDS, an AddressType or a Destination that does
 * not exist. The values of windows, time-outs and lifetimes are not checked here. */
const char *rts_parse(const uint8_t *data, size_t len, rts_pdu_t *pdu);

/* Which PDU of 2.2.4 is this, when it arrives on HOP? Of PDUs that look the same and
 * differ only by the state of the receiver, the first in table order is returned; the
 * roles decide by their state (for example, on C->IP a single Cookie is IN_R1/A5 or
 * IN_R2/A5). OUT_R2/A8 is accepted with and without Version and OUT_R2/C1 with Empty
 * or Padding (doc/protocol.md, "Notes on RTS PDUs"). RTS_UNKNOWN when there is none. */
rts_pdu_id_t rts_identify(const rts_pdu_t *pdu, rts_hop_t hop);

/* The value of the PDU's Destination (2.2.3.5.14: always the first command), or -1. */
int rts_destination(const rts_pdu_t *pdu);

/* Starts a PDU to be written: flags and commands of the table's row, all values
 * zero, Version 1, Destination as in the row. */
void rts_begin(rts_pdu_t *pdu, rts_pdu_id_t id);

/* Sets the (first) command of this type, which the PDU must have. */
void rts_set_u32(rts_pdu_t *pdu, rts_command_type_t type, uint32_t value);
/* Sets the NTH Cookie command, from 0. */
void rts_set_cookie(rts_pdu_t *pdu, int nth, const rts_cookie_t *cookie);
/* Sets the AssociationGroupId. */
void rts_set_group(rts_pdu_t *pdu, const rts_cookie_t *group);
void rts_set_ack(rts_pdu_t *pdu, const rts_ack_t *ack);
void rts_set_address(rts_pdu_t *pdu, const rts_address_t *address);

/* Reads the first command of this type; DEFLT when there is none. */
uint32_t rts_u32(const rts_pdu_t *pdu, rts_command_type_t type, uint32_t deflt);
/* The NTH Cookie / the AssociationGroupId / the ack / the client address; NULL when there is
 * none. */
const rts_cookie_t *rts_cookie(const rts_pdu_t *pdu, int nth);
const rts_cookie_t *rts_group(const rts_pdu_t *pdu);
const rts_ack_t *rts_ack(const rts_pdu_t *pdu);

/* Encodes into BUF; returns the size, or 0 when CAP is too small. Padding is
 * written as zeros. ClientAddress is written with IPv4 reversed and IPv6 in network
 * order (doc/protocol.md, "ClientAddress"), and 12 zero bytes behind it. */
size_t rts_write(const rts_pdu_t *pdu, uint8_t *buf, size_t cap);

int rts_cookie_equal(const rts_cookie_t *a, const rts_cookie_t *b);

#endif
