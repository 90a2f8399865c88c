/* relay_test.c: channels to a proxy that is already there, in a world without sockets and clocks
 * (fuzz/fake.h): what each far end hears, byte for byte, and why the channel ends.
 */
#include "../../fuzz/fake.h"
#include "unit.h"

#include <apr_general.h>

#include "io/secure.h"
#include "proxy/relay.h"
#include "wire/dcerpc.h"

#define SECOND apr_time_from_sec(1)
#define HEARD_MAX (1 << 20)
#define HEAD "RPC_OUT_DATA /rpc HTTP/1.1\r\n\r\n"

/* What a far end has heard. */
typedef struct ear {
    uint8_t data[HEARD_MAX];
    size_t size;
} ear_t;

typedef struct stage {
    fake_world_t *world;
    fake_peer_t *client, *upstream;
    ear_t client_ear, upstream_ear;
    rpc_channel_spec_t spec;
    rpc_log_t log;
    rpc_relay_t *relays;
    rpc_reason_t refuse;        /* what claim() answers */
    int claims, replacing, opened, reached, ended, refused;
    rpc_end_t end;
    char why[256], where[64];
    int error;                  /* the status of an answer of ours */
} stage_t;

/* ---- callbacks ---- */

static void no_log(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
}

static void hear(ear_t *ear, const uint8_t *data, size_t len)
{
    if (len > HEARD_MAX - ear->size)
        abort();
    memcpy(ear->data + ear->size, data, len);
    ear->size += len;
}

static void client_hears(fake_peer_t *peer, const uint8_t *data, size_t len)
{
    hear(&((stage_t *)peer->ctx)->client_ear, data, len);
}

static void upstream_hears(fake_peer_t *peer, const uint8_t *data, size_t len)
{
    hear(&((stage_t *)peer->ctx)->upstream_ear, data, len);
}

static void client_refused(fake_peer_t *peer, const rpc_answer_t *answer)
{
    ((stage_t *)peer->ctx)->error = answer->status;
}

static rpc_reason_t claim(void *ctx, const rts_cookie_t *vc, int replacing, int *first)
{
    stage_t *t = ctx;

    t->claims++;
    t->replacing = replacing;
    return t->refuse;
}

static void reached(void *ctx, const char *host, uint16_t port)
{
    ((stage_t *)ctx)->reached++;
}

static void opened(void *ctx)
{
    ((stage_t *)ctx)->opened++;
}

static void bind_refused(void *ctx, rpc_reason_t reason, const char *text)
{
    ((stage_t *)ctx)->refused++;
}

static void ended(void *ctx, const rpc_end_t *end)
{
    stage_t *t = ctx;

    t->ended++;
    t->end = *end;
    snprintf(t->why, sizeof(t->why), "%s", end->why);
    snprintf(t->where, sizeof(t->where), "%s", end->where);
}

/* ---- the stage ---- */

/* A channel that has not begun: its spec may still be changed. */
static stage_t *stage(rpc_role_t role)
{
    stage_t *t = calloc(1, sizeof(*t));

    if (!t)
        abort();
    t->world = fake_world_new(NULL);
    t->client = fake_peer_new(t->world, 1);
    t->upstream = fake_peer_new(t->world, 0);
    t->client->ctx = t->upstream->ctx = t;
    t->client->heard = client_hears;
    t->client->responded = client_refused;
    t->upstream->heard = upstream_hears;
    t->log.write = no_log;
    t->spec = (rpc_channel_spec_t){
        .role = role, .content_length = role == RPC_OUTBOUND ? 76 : 1 << 30,
        .connection_timeout = 120 * SECOND, .first_pdu_timeout = 10 * SECOND,
        .setup_timeout = 20 * SECOND, .log = &t->log, .claim = claim, .reached = reached,
        .opened = opened, .refused = bind_refused, .ended = ended, .ctx = t,
        .upstream = { .host = "cas1", .port = 443, .timeout = 30 * SECOND },
    };
    if (role == RPC_MIXED)
        t->spec.content_length = INT64_MAX;
    return t;
}

static void begin(stage_t *t)
{
    rpc_loop_t *loop = t->world->loops[0];
    rpc_stream_t *client = fake_open_http(t->client, loop);

    t->spec.upstream.stream = __wrap_rpc_stream_open(loop, t->upstream->number, NULL);
    rpc_secure_put(t->spec.upstream.stream, HEAD, strlen(HEAD));
    rpc_relay_start(loop, &t->relays, client, &t->spec);
    fake_settle(t->world);
}

static stage_t *started(rpc_role_t role)
{
    stage_t *t = stage(role);

    begin(t);
    return t;
}

static void strike(stage_t *t)
{
    if (!t->ended)
        rpc_relay_end(&t->relays, RPC_REASON_SHUTDOWN);
    fake_settle(t->world);
    ok(t->ended == 1 && !t->relays, "one end");
    fake_world_free(t->world);
    free(t);
}

static void say(stage_t *t, fake_peer_t *peer, const void *data, size_t len)
{
    fake_say(peer, data, len);
    fake_settle(t->world);
}

static void says(stage_t *t, fake_peer_t *peer, const char *text)
{
    say(t, peer, text, strlen(text));
}

static void closes(stage_t *t, fake_peer_t *peer)
{
    fake_eof(peer);
    fake_settle(t->world);
}

static void is_heard(const ear_t *ear, const char *want, const char *name)
{
    is_bytes(ear->data, ear->size, want, strlen(want), "%s", name);
}

static void is_end(const stage_t *t, rpc_reason_t reason, const char *name)
{
    is_str(t->ended ? rpc_reason_info(t->end.reason)->token : "lives on",
           rpc_reason_info(reason)->token, "%s", name);
}

/* ---- PDUs ---- */

/* Appends RTS PDU ID to EAR. */
static void add_rts(ear_t *ear, rts_pdu_id_t id)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, id);
    ear->size += rts_write(&pdu, ear->data + ear->size, RTS_MAX_SIZE);
}

static void add_rpc(ear_t *ear, uint8_t ptype, uint16_t size)
{
    uint8_t *at = ear->data + ear->size;
    size_t i;

    dcerpc_header_write(at, ptype, DCERPC_WHOLE, size, 1);
    for (i = DCERPC_HEADER_SIZE; i < size; i++)
        at[i] = (uint8_t)(i * 7 + ear->size);
    ear->size += size;
}

static void add_text(ear_t *ear, const char *text)
{
    hear(ear, (const uint8_t *)text, strlen(text));
}

static void say_rts(stage_t *t, fake_peer_t *peer, rts_pdu_id_t id)
{
    static ear_t pdu;

    pdu.size = 0;
    add_rts(&pdu, id);
    say(t, peer, pdu.data, pdu.size);
}

static void say_rpc(stage_t *t, fake_peer_t *peer, uint8_t ptype, uint16_t size)
{
    static ear_t pdu;

    pdu.size = 0;
    add_rpc(&pdu, ptype, size);
    say(t, peer, pdu.data, pdu.size);
}

#define OUT_ANSWER "HTTP/1.1 200 Success\r\nContent-Type: application/rpc\r\n" \
                   "Content-Length: 1073741824\r\n"

/* ---- OUT ---- */

static void test_out(void)
{
    stage_t *t = started(RPC_OUTBOUND);
    static ear_t want;

    want.size = 0;
    is_heard(&t->upstream_ear, HEAD, "the head goes out at once");
    is_int(t->reached, 1, "the table hears of the upstream");
    say_rts(t, t->client, RTS_CONN_A1);
    is_int(t->claims, 1, "the first PDU claims its cookie");
    ok(!t->replacing, "as a first channel");
    is_int(t->upstream_ear.size, strlen(HEAD) + 76, "and goes on");
    says(t, t->upstream, OUT_ANSWER "\r\n");
    say_rts(t, t->upstream, RTS_CONN_A3);
    is_int(t->opened, 0, "CONN/A3 does not open it");
    say_rts(t, t->upstream, RTS_CONN_C2);
    is_int(t->opened, 1, "CONN/C2 does");
    say_rpc(t, t->upstream, DCERPC_RESPONSE, 1000);
    say_rts(t, t->upstream, RTS_OUT_R1_A10);
    add_text(&want, OUT_ANSWER "Connection: close\r\n\r\n");
    add_rts(&want, RTS_CONN_A3);
    add_rts(&want, RTS_CONN_C2);
    add_rpc(&want, DCERPC_RESPONSE, 1000);
    memcpy(want.data + want.size - 1000, t->client_ear.data + want.size - 1000, 1000);
    add_rts(&want, RTS_OUT_R1_A10);
    is_bytes(t->client_ear.data, t->client_ear.size, want.data, want.size,
             "the client hears the answer, with its connection's field, and each PDU");
    closes(t, t->upstream);
    is_end(t, RPC_REASON_RECYCLED, "behind OUT_R1/A10 the end is a good one");
    is_int((long long)t->end.sent, 28 + 44 + 1000 + 24, "the end tells the bytes of the body");
    is_int((long long)t->end.received, 76, "and of the request's");
    strike(t);
}

static void test_out_successor(void)
{
    stage_t *t = started(RPC_OUTBOUND);

    say_rts(t, t->client, RTS_OUT_R1_A3);
    ok(t->claims == 1 && t->replacing, "OUT_R1/A3 claims as a successor");
    fake_advance(t->world, 45 * SECOND);
    is_int(t->ended, 0, "which may wait longer for its answer");
    says(t, t->upstream, OUT_ANSWER "\r\n");
    say_rpc(t, t->upstream, DCERPC_RESPONSE, 100);
    is_int(t->opened, 1, "and is open with the first PDU");
    say_rts(t, t->upstream, RTS_OUT_R2_B3);
    closes(t, t->client);
    ok(t->upstream->shut, "the upstream sees that the client sends no more");
    is_int(t->ended, 0, "and decides what that means");
    closes(t, t->upstream);
    is_end(t, RPC_REASON_RECYCLED, "behind OUT_R2/B3 the end is a good one");
    strike(t);
}

static void test_out_refused(void)
{
    stage_t *t = stage(RPC_OUTBOUND);

    t->refuse = RPC_REASON_DUPLICATE_COOKIE;
    begin(t);
    say_rts(t, t->client, RTS_CONN_A1);
    is_end(t, RPC_REASON_DUPLICATE_COOKIE, "a cookie that another has");
    is_int(t->error, 503, "the client hears a 503");
    is_heard(&t->upstream_ear, HEAD, "no byte of its body has gone on");
    strike(t);

    t = started(RPC_OUTBOUND);
    say_rts(t, t->client, RTS_CONN_B1);
    is_end(t, RPC_REASON_PROTOCOL, "a PDU of IN on OUT");
    strike(t);

    t = started(RPC_OUTBOUND);
    say_rpc(t, t->client, DCERPC_REQUEST, 76);
    is_end(t, RPC_REASON_BAD_PDU, "an RPC PDU that comes first");
    strike(t);

    t = started(RPC_OUTBOUND);
    says(t, t->upstream, OUT_ANSWER "\r\n");
    say_rts(t, t->upstream, RTS_CONN_C2);
    is_end(t, RPC_REASON_PROTOCOL, "an upstream that opens what has not begun");
    strike(t);

    t = started(RPC_OUTBOUND);
    say_rts(t, t->client, RTS_CONN_A1);
    says(t, t->upstream, OUT_ANSWER "\r\n");
    say_rts(t, t->upstream, RTS_CONN_A3);
    closes(t, t->upstream);
    is_end(t, RPC_REASON_SERVER_REFUSED, "an upstream whose server never comes");
    strike(t);

    t = started(RPC_OUTBOUND);
    say_rts(t, t->client, RTS_CONN_A1);
    says(t, t->upstream, "HTTP/1.1 200 OK\r\n\r\n<html>Welcome to the portal</html>");
    is_end(t, RPC_REASON_BAD_PDU, "a page instead of PDUs");
    strike(t);
}

static void test_times(void)
{
    stage_t *t = started(RPC_OUTBOUND);

    fake_advance(t->world, 11 * SECOND);
    is_end(t, RPC_REASON_FIRST_PDU_TIMEOUT, "a client that says nothing");
    is_int(t->error, 503, "hears a 503");
    strike(t);

    t = started(RPC_OUTBOUND);
    say_rts(t, t->client, RTS_CONN_A1);
    fake_advance(t->world, 29 * SECOND);
    is_int(t->ended, 0, "the upstream has its time");
    fake_advance(t->world, 2 * SECOND);
    is_end(t, RPC_REASON_UPSTREAM_SILENT, "an upstream that says nothing");
    is_int(t->error, 504, "the client hears a 504");
    is_str(t->where, "relayed outbound in Connecting", "where it was");
    strike(t);

    t = started(RPC_OUTBOUND);
    say_rts(t, t->client, RTS_CONN_A1);
    says(t, t->upstream, OUT_ANSWER "\r\n");
    say_rts(t, t->upstream, RTS_CONN_A3);
    fake_advance(t->world, 21 * SECOND);
    is_end(t, RPC_REASON_SETUP_TIMEOUT, "a server that never comes");
    is_int(t->error, 0, "nothing is said behind the answer");
    strike(t);

    t = stage(RPC_INBOUND);
    t->spec.idle_timeout = 60 * SECOND;
    begin(t);
    say_rts(t, t->client, RTS_CONN_B1);
    say_rpc(t, t->client, DCERPC_BIND, 100);
    fake_advance(t->world, 59 * SECOND);
    say_rts(t, t->client, RTS_PING);
    fake_advance(t->world, 59 * SECOND);
    is_int(t->ended, 0, "IN's answer is not due, and a ping is a sign of life");
    fake_advance(t->world, 2 * SECOND);
    is_end(t, RPC_REASON_IDLE_TIMEOUT, "RpcIdleTimeout");
    strike(t);
}

/* ---- answers that are none ---- */

static void test_no_answer(void)
{
    static const struct { const char *said; rpc_reason_t reason; int error; } cases[] = {
        { "", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "SSH-2.0-OpenSSH_9.6\r\n", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/2 200\r\n\r\n", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/1.1 2x0 OK\r\n\r\n", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Le", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
          RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", RPC_REASON_UPSTREAM_ANSWER, 502 },
        { "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", RPC_REASON_UPSTREAM_ANSWER,
          502 },
        { "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
          RPC_REASON_UPSTREAM_ANSWER, 0 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        stage_t *t = started(RPC_OUTBOUND);

        say_rts(t, t->client, RTS_CONN_A1);
        says(t, t->upstream, cases[i].said);
        closes(t, t->upstream);
        is_end(t, cases[i].reason, *cases[i].said ? cases[i].said : "no answer");
        is_int(t->error, cases[i].error, "what the client hears: %s", t->why);
        strike(t);
    }
}

/* Neither a line without end nor too many of them fill memory. */
static void test_long_heads(void)
{
    static char line[RPC_STREAM_HIGH];
    stage_t *t = started(RPC_OUTBOUND);
    int i;

    memset(line, 'a', sizeof(line) - 1);
    says(t, t->upstream, "HTTP/1.1 200 OK\r\n");
    says(t, t->upstream, line);
    is_end(t, RPC_REASON_UPSTREAM_ANSWER, "a line without end");
    strike(t);
    t = started(RPC_OUTBOUND);
    says(t, t->upstream, "HTTP/1.1 200 OK\r\n");
    for (i = 0; i < 300 && !t->ended; i++)
        says(t, t->upstream, "A: b\r\n");
    is_end(t, RPC_REASON_UPSTREAM_ANSWER, "lines without end");
    strike(t);
}

/* ---- refusals ---- */

static void test_refusals(void)
{
    static const struct { const char *said, *heard; rpc_reason_t reason; } cases[] = {
        { "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 4\r\n"
          "Keep-Alive: timeout=5\r\n\r\nbody, and what is behind it",
          "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 4\r\n"
          "Connection: close\r\n\r\nbody", RPC_REASON_UPSTREAM_CHALLENGE },
        { "HTTP/1.0 503 RPC Error: 6ba, EEInfo: AAAA\r\nContent-Length: 18\r\n\r\n"
          "RPC EEInfo: AAAA\r\n",
          "HTTP/1.1 503 RPC Error: 6ba, EEInfo: AAAA\r\nContent-Length: 18\r\n"
          "Connection: close\r\n\r\nRPC EEInfo: AAAA\r\n", RPC_REASON_UPSTREAM_REFUSED },
        { "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: Chunked\r\nContent-Length: 99\r\n\r\n"
          "3;x=y\r\nabc\r\n00a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nmore",
          "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nabc0123456789",
          RPC_REASON_UPSTREAM_REFUSED },
        { "HTTP/1.1 302 Found\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\nX-Yours:2\r\n"
          "Content-Length: 0\r\n\r\n",
          "HTTP/1.1 302 Found\r\nX-Yours: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
          RPC_REASON_UPSTREAM_REFUSED },
        { "HTTP/1.1 403\nContent-Length: 0\n\n",
          "HTTP/1.1 403 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
          RPC_REASON_UPSTREAM_REFUSED },
        { "HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n",
          "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n", RPC_REASON_UPSTREAM_REFUSED },
    };
    size_t i, at;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        stage_t *t = started(RPC_INBOUND);

        says(t, t->upstream, cases[i].said);
        is_end(t, cases[i].reason, cases[i].said);
        is_heard(&t->client_ear, cases[i].heard, "goes on without what is of the connection");
        strike(t);
        t = started(RPC_OUTBOUND);
        for (at = 0; at < strlen(cases[i].said); at++)
            say(t, t->upstream, cases[i].said + at, 1);
        is_heard(&t->client_ear, cases[i].heard, "the same, byte by byte");
        strike(t);
    }
}

static void test_endless_refusal(void)
{
    stage_t *t = started(RPC_INBOUND);

    say_rts(t, t->client, RTS_CONN_B1);
    says(t, t->upstream, "HTTP/1.1 401 Unauthorized\r\n\r\nno end");
    is_int(t->ended, 0, "a 401 without a length goes on");
    say_rpc(t, t->client, DCERPC_BIND, 100);
    is_int(t->upstream_ear.size, strlen(HEAD) + 104, "but no more of the request");
    fake_advance(t->world, 31 * SECOND);
    is_end(t, RPC_REASON_UPSTREAM_CHALLENGE, "for a time");
    strike(t);
}

static void test_interim(void)
{
    stage_t *t = stage(RPC_OUTBOUND);

    t->spec.upstream.expects = 1;
    begin(t);
    fake_advance(t->world, 15 * SECOND);
    is_int(t->ended, 0, "a client that expects a 100 is not late with its body");
    says(t, t->upstream, "HTTP/1.1 100 Continue\r\nConnection: X\r\nX: 1\r\n\r\n");
    is_heard(&t->client_ear, "HTTP/1.1 100 Continue\r\n\r\n", "it hears that of the upstream");
    fake_advance(t->world, 11 * SECOND);
    is_end(t, RPC_REASON_FIRST_PDU_TIMEOUT, "and then its time runs");
    strike(t);
    t = stage(RPC_INBOUND);
    t->spec.upstream.expects = 1;
    begin(t);
    fake_advance(t->world, 31 * SECOND);
    is_end(t, RPC_REASON_UPSTREAM_SILENT, "IN's 100 does not come");
    is_int(t->error, 504, "the client hears a 504");
    strike(t);
    t = stage(RPC_INBOUND);
    t->spec.upstream.expects = 1;
    begin(t);
    says(t, t->upstream, "HTTP/1.1 200 OK\r\n\r\n");
    fake_advance(t->world, 11 * SECOND);
    is_end(t, RPC_REASON_FIRST_PDU_TIMEOUT, "nor without a 100 does a client have for ever");
    strike(t);
}

static void test_maps(void)
{
    static const rpc_map_t maps[] = {
        { RPC_MAP_URL, "https://cas1/rpc/", "https://mail.example.com/rpc/" },
        { RPC_MAP_COOKIE_PATH, "/rpc", "/outside" },
        { RPC_MAP_COOKIE_DOMAIN, "cas1", "mail.example.com" },
    };
    stage_t *t = stage(RPC_OUTBOUND);

    t->spec.upstream.maps = maps;
    t->spec.upstream.map_count = 3;
    t->spec.upstream.fields = "Via: 1.1 here\r\n";
    begin(t);
    says(t, t->upstream,
         "HTTP/1.1 302 Found\r\nLocation: https://cas1/rpc/x\r\nURI: https://cas2/rpc/\r\n"
         "Set-Cookie: a=/rpc; Path=/rpc/a; domain=CAS1;Secure\r\n"
         "Set-Cookie: b=1; Domain=cas11\r\nContent-Length: 0\r\n\r\n");
    is_heard(&t->client_ear,
             "HTTP/1.1 302 Found\r\nLocation: https://mail.example.com/rpc/x\r\n"
             "URI: https://cas2/rpc/\r\n"
             "Set-Cookie: a=/rpc; Path=/outside/a; domain=mail.example.com;Secure\r\n"
             "Set-Cookie: b=1; Domain=cas11\r\nContent-Length: 0\r\nVia: 1.1 here\r\n"
             "Connection: close\r\n\r\n", "redirections and cookies as the maps say");
    strike(t);
}

/* ---- IN ---- */

static void test_in(void)
{
    stage_t *t = started(RPC_INBOUND);

    say_rts(t, t->client, RTS_CONN_B1);
    is_int(t->claims, 1, "CONN/B1 claims its cookie");
    fake_advance(t->world, 300 * SECOND);
    ok(!t->ended && !t->opened, "whose server may take its time");
    say_rpc(t, t->client, DCERPC_BIND, 100);
    is_int(t->opened, 1, "a client that binds knows that the connection is open");
    say_rts(t, t->client, RTS_IN_R1_A5);
    is_int(t->upstream_ear.size, strlen(HEAD) + 104 + 100 + 40, "all goes on");
    closes(t, t->upstream);
    is_end(t, RPC_REASON_RECYCLED, "behind IN_R1/A5 the end is a good one");
    is_int(t->error, 0, "without an answer");
    strike(t);

    t = started(RPC_INBOUND);
    say_rts(t, t->client, RTS_CONN_B1);
    say_rpc(t, t->client, DCERPC_BIND, 100);
    closes(t, t->upstream);
    is_end(t, RPC_REASON_SERVER_CLOSED, "an upstream that closes an open channel");
    is_int(t->error, 0, "does so without an answer");
    strike(t);

    t = started(RPC_INBOUND);
    say_rts(t, t->client, RTS_CONN_B1);
    closes(t, t->client);
    is_end(t, RPC_REASON_CLIENT_CLOSED, "a client that goes");
    ok(t->upstream->closed && !t->upstream->aborted, "the upstream is closed in order");
    strike(t);
}

static void test_in_used_up(void)
{
    stage_t *t = stage(RPC_INBOUND);

    t->spec.content_length = 104 + 100;
    t->client->length = 204;
    begin(t);
    say_rts(t, t->client, RTS_CONN_B1);
    say_rpc(t, t->client, DCERPC_BIND, 200);
    is_int(t->upstream_ear.size, strlen(HEAD) + 104, "a PDU cut by the body's end does not go on");
    says(t, t->upstream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    is_heard(&t->client_ear, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
             "the answer comes at the end");
    is_end(t, RPC_REASON_CONTENT_USED_UP, "which is a good one");
    strike(t);
}

/* A bind (C706 12.6.4.3) to one interface, little-endian. */
static void add_bind(ear_t *ear, uint8_t first)
{
    uint8_t *at = ear->data + ear->size;

    memset(at, 0, 72);
    dcerpc_header_write(at, DCERPC_BIND, DCERPC_WHOLE, 72, 1);
    at[16] = at[18] = 0xd0;
    at[17] = at[19] = 0x16;
    at[24] = 1;
    at[30] = 1;
    at[32] = first;
    ear->size += 72;
}

static void test_firewall(void)
{
    static ear_t bind;
    apr_pool_t *pool;
    rpc_firewall_rules_t *rules = NULL;
    rpc_syntax_error_t err;
    stage_t *t = stage(RPC_INBOUND);

    apr_pool_create(&pool, NULL);
    rpc_firewall_rules_parse(pool, "6001 emsmdb", NULL, &rules, &err);
    t->spec.rules = rules;
    t->spec.asked_port = 6001;
    begin(t);
    say_rts(t, t->client, RTS_CONN_B1);
    bind.size = 0;
    add_bind(&bind, 0x77);
    say(t, t->client, bind.data, bind.size);
    is_int(t->refused, 1, "a bind to what no rule names is told");
    is_int(t->upstream_ear.size, strlen(HEAD) + 104 + 72, "it goes on");
    ok(memcmp(t->upstream_ear.data + strlen(HEAD) + 104, bind.data, 72) != 0, "blinded");
    is_int(t->upstream_ear.data[strlen(HEAD) + 104 + 32], 0x78, "to an interface that nobody has");
    strike(t);

    t = stage(RPC_INBOUND);
    t->spec.rules = rules;
    t->spec.asked_port = 6001;
    begin(t);
    say_rts(t, t->client, RTS_CONN_B1);
    say_rpc(t, t->client, DCERPC_REQUEST, 100);
    is_end(t, RPC_REASON_PROTOCOL, "a request before a bind");
    is_int(t->upstream_ear.size, strlen(HEAD) + 104, "does not go on");
    strike(t);
    apr_pool_destroy(pool);
}

/* ---- whatever is cut, slow or full ---- */

/* All that one side says, in pieces of SIZE bytes, arrives as a whole. */
static void in_pieces(size_t size, int64_t room)
{
    static ear_t asked, answered;
    stage_t *t = started(RPC_OUTBOUND);
    int i;

    asked.size = answered.size = 0;
    add_rts(&asked, RTS_CONN_A1);
    add_text(&answered, OUT_ANSWER "\r\n");
    add_rts(&answered, RTS_CONN_A3);
    add_rts(&answered, RTS_CONN_C2);
    for (i = 0; i < 5; i++)
        add_rpc(&answered, DCERPC_RESPONSE, (uint16_t)(100 + 400 * i));
    t->client->room = t->upstream->room = room;
    t->client->chunk = t->upstream->chunk = size;
    say(t, t->client, asked.data, asked.size);
    fake_say(t->upstream, answered.data, answered.size);
    for (i = 0; i < 10000 && t->client_ear.size < answered.size + 19; i++) {
        fake_take(t->client, room);
        fake_take(t->upstream, room);
        fake_settle(t->world);
        t->client->room = t->upstream->room = 0;
    }
    is_int(t->upstream_ear.size, strlen(HEAD) + 76,
           "the request arrives, read by %zu, written by %d", size, (int)room);
    is_bytes(t->client_ear.data + strlen(OUT_ANSWER) + 21, t->client_ear.size - strlen(OUT_ANSWER)
             - 21, answered.data + strlen(OUT_ANSWER) + 2, answered.size - strlen(OUT_ANSWER) - 2,
             "and the answer");
    strike(t);
}

/* Each place at which the answer can be cut by an end. */
static void test_cut_anywhere(void)
{
    static ear_t all;
    size_t cut, head = strlen(OUT_ANSWER) + 2, whole;
    int wrong = 0;

    all.size = 0;
    add_text(&all, OUT_ANSWER "\r\n");
    add_rts(&all, RTS_CONN_A3);
    add_rts(&all, RTS_CONN_C2);
    add_rpc(&all, DCERPC_RESPONSE, 60);
    for (cut = 0; cut <= all.size; cut++) {
        stage_t *t = started(RPC_OUTBOUND);
        rpc_reason_t want = RPC_REASON_SERVER_ERROR;

        whole = cut < head ? 0 : cut < head + 28 ? head : cut < head + 72 ? head + 28
                : cut < all.size ? head + 72 : cut;
        if (cut < head)
            want = RPC_REASON_UPSTREAM_ANSWER;
        else if (cut == head || cut == head + 28)
            want = RPC_REASON_SERVER_REFUSED;
        else if (cut == whole)
            want = RPC_REASON_SERVER_CLOSED;
        say_rts(t, t->client, RTS_CONN_A1);
        fake_say(t->upstream, all.data, cut);
        fake_eof(t->upstream);
        fake_settle(t->world);
        if (t->end.reason != want || (whole && t->client_ear.size != whole + 19))
            wrong++;
        if (!t->ended)
            rpc_relay_end(&t->relays, RPC_REASON_SHUTDOWN);
        fake_world_free(t->world);
        free(t);
    }
    is_int(wrong, 0, "cut anywhere: no half PDU goes on, and the end says what it was");
}

static void test_pressure(void)
{
    stage_t *t = started(RPC_OUTBOUND);
    int i;

    say_rts(t, t->client, RTS_CONN_A1);
    says(t, t->upstream, OUT_ANSWER "\r\n");
    t->client->room = 0;
    for (i = 0; i < 100; i++)
        say_rpc(t, t->upstream, DCERPC_RESPONSE, 5840);
    ok(t->upstream->taken < 4 * RPC_STREAM_HIGH, "a client that reads nothing stops the upstream: "
       "%d bytes are read", (int)t->upstream->taken);
    fake_take(t->client, FAKE_EVER);
    fake_settle(t->world);
    is_int(t->client_ear.size, strlen(OUT_ANSWER) + 21 + 584000, "all arrives in the end");
    fake_fail(t->client, 0, 1);
    say_rpc(t, t->upstream, DCERPC_RESPONSE, 100);
    is_end(t, RPC_REASON_CLIENT_ERROR, "a client that is gone");
    strike(t);

    t = started(RPC_INBOUND);
    say_rts(t, t->client, RTS_CONN_B1);
    t->upstream->room = 0;
    for (i = 0; i < 100; i++)
        say_rpc(t, t->client, DCERPC_REQUEST, 5840);
    ok(t->client->taken < 4 * RPC_STREAM_HIGH, "an upstream that reads nothing stops the client: "
       "%d bytes are read", (int)t->client->taken);
    fake_take(t->upstream, FAKE_EVER);
    fake_settle(t->world);
    is_int(t->upstream_ear.size, strlen(HEAD) + 104 + 584000, "all arrives in the end");
    strike(t);
}

/* It has answered before it closed: its words are not lost to an error of the next write. */
static void test_last_words(void)
{
    static const char refusal[] = "HTTP/1.1 503 RPC Error: 6bb\r\nContent-Length: 0\r\n\r\n";
    stage_t *t = started(RPC_INBOUND);

    say_rts(t, t->client, RTS_CONN_B1);
    fake_say(t->upstream, refusal, strlen(refusal));
    t->upstream->write_error = APR_EPIPE;
    fake_eof(t->upstream);
    say_rpc(t, t->client, DCERPC_BIND, 5840);
    is_end(t, RPC_REASON_UPSTREAM_REFUSED, "the upstream's refusal");
    is_str(t->why, "the upstream answered 503 RPC Error: 6bb", "is explained");
    is_heard(&t->client_ear, "HTTP/1.1 503 RPC Error: 6bb\r\nContent-Length: 0\r\n"
             "Connection: close\r\n\r\n", "and reaches the client");
    strike(t);
}

/* ---- version 1, other bodies ---- */

static void test_version_1(void)
{
    stage_t *t = started(RPC_MIXED);

    is_int(t->claims, 0, "version 1 has no cookie");
    says(t, t->upstream, "HTTP/1.1 200 OK\r\n\r\n");
    is_int(t->opened, 1, "it is open with its answer");
    say_rpc(t, t->client, DCERPC_BIND, 100);
    is_int(t->upstream_ear.size, strlen(HEAD) + 100, "the client's PDUs go on");
    says(t, t->upstream, "whatever");
    is_heard(&t->client_ear, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhatever",
             "as does all that the server says");
    say_rts(t, t->client, RTS_PING);
    is_end(t, RPC_REASON_PROTOCOL, "an RTS PDU");
    strike(t);
}

static void test_bodies(void)
{
    static const char chunks[] = "4\r\nwiki\r\n6\r\npedia \r\n", last[] = "0\r\n\r\n";
    stage_t *t = stage(RPC_INBOUND);

    t->spec.upstream.carry = RPC_CARRY_BODY;
    t->spec.upstream.chunked = 1;
    t->spec.content_length = INT64_MAX;
    begin(t);
    says(t, t->upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    is_heard(&t->client_ear, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "an early answer");
    is_int(t->opened, 1, "opens it");
    says(t, t->client, chunks);
    is_int(t->upstream_ear.size, strlen(HEAD) + strlen(chunks), "the body goes on behind it");
    says(t, t->client, "0\r\n\r\nGET /secret HTTP/1.1\r\n\r\n");
    is_int(t->upstream_ear.size, strlen(HEAD) + strlen(chunks) + strlen(last),
           "and no other request behind that");
    is_end(t, RPC_REASON_SERVER_CLOSED, "both bodies are over");
    strike(t);

    t = stage(RPC_OUTBOUND);
    t->spec.upstream.carry = RPC_CARRY_BODY;
    t->spec.content_length = 0;
    begin(t);
    says(t, t->upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    says(t, t->upstream, chunks);
    is_heard(&t->client_ear, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
             "4\r\nwiki\r\n6\r\npedia \r\n", "chunks stay chunks");
    says(t, t->upstream, "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    is_end(t, RPC_REASON_SERVER_CLOSED, "the last chunk is the end");
    strike(t);

    t = stage(RPC_OUTBOUND);
    t->spec.upstream.carry = RPC_CARRY_BODY;
    t->spec.upstream.http10 = 1;
    t->spec.content_length = 0;
    begin(t);
    says(t, t->upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    says(t, t->upstream, chunks);
    is_heard(&t->client_ear, "HTTP/1.1 200 OK\r\n\r\nwikipedia ", "but not for HTTP/1.0");
    strike(t);
}

/* An answer that comes before the end of the request, and the other way round. */
static void test_body_of_known_length(void)
{
    stage_t *t = stage(RPC_INBOUND);

    t->spec.upstream.carry = RPC_CARRY_BODY;
    t->spec.content_length = t->client->length = 8;
    begin(t);
    says(t, t->client, "12345678");
    is_heard(&t->upstream_ear, HEAD "12345678", "a body of known length");
    fake_advance(t->world, 29 * SECOND);
    is_int(t->ended, 0, "its answer has time");
    fake_advance(t->world, 2 * SECOND);
    is_end(t, RPC_REASON_UPSTREAM_SILENT, "but not for ever");
    strike(t);

    t = stage(RPC_INBOUND);
    t->spec.upstream.carry = RPC_CARRY_BODY;
    t->spec.content_length = t->client->length = 8;
    begin(t);
    says(t, t->upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    is_int(t->ended, 0, "an early answer does not end the request");
    says(t, t->client, "12345678");
    is_end(t, RPC_REASON_SERVER_CLOSED, "which ends with its own body");
    is_heard(&t->upstream_ear, HEAD "12345678", "all of it");
    strike(t);
}

static void test_upgrade(void)
{
    stage_t *t = stage(RPC_INBOUND);

    t->spec.upstream.carry = RPC_CARRY_UPGRADE;
    t->spec.content_length = INT64_MAX;
    begin(t);
    says(t, t->client, "\x82\x01x");
    is_heard(&t->upstream_ear, HEAD, "nothing goes on before a 101");
    says(t, t->upstream, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
         "Upgrade: websocket\r\n\r\n\x82\x02yz");
    is_heard(&t->client_ear, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
             "Upgrade: websocket\r\n\r\n\x82\x02yz", "which has its fields");
    is_heard(&t->upstream_ear, HEAD "\x82\x01x", "then all does");
    closes(t, t->client);
    is_end(t, RPC_REASON_CLIENT_CLOSED, "until one side closes");
    strike(t);

    t = stage(RPC_INBOUND);
    t->spec.upstream.carry = RPC_CARRY_UPGRADE;
    t->spec.content_length = INT64_MAX;
    begin(t);
    says(t, t->client, "GET /secret HTTP/1.1\r\n\r\n");
    says(t, t->upstream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    is_heard(&t->client_ear, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
             "an upgrade that is not made");
    is_end(t, RPC_REASON_UPSTREAM_REFUSED, "is a refusal");
    is_heard(&t->upstream_ear, HEAD, "and lets nothing through");
    strike(t);

    t = stage(RPC_INBOUND);
    t->spec.upstream.carry = RPC_CARRY_UPGRADE;
    t->spec.content_length = INT64_MAX;
    begin(t);
    closes(t, t->client);
    fake_advance(t->world, 5 * SECOND);
    is_end(t, RPC_REASON_CLIENT_CLOSED, "a client that does not wait for it");
    strike(t);
}

static void test_shutdown(void)
{
    stage_t *t = started(RPC_OUTBOUND);

    say_rts(t, t->client, RTS_CONN_A1);
    rpc_relay_end(&t->relays, RPC_REASON_SHUTDOWN);
    fake_settle(t->world);
    is_end(t, RPC_REASON_SHUTDOWN, "the end of all");
    ok(t->client->closed && t->upstream->closed, "both are closed");
    strike(t);
}

int main(void)
{
    size_t size;

    apr_initialize();
    test_out();
    test_out_successor();
    test_out_refused();
    test_times();
    test_no_answer();
    test_long_heads();
    test_refusals();
    test_endless_refusal();
    test_interim();
    test_maps();
    test_in();
    test_in_used_up();
    test_firewall();
    for (size = 0; size < 40; size += 13) {
        in_pieces(size, FAKE_EVER);
        in_pieces(size, 1 + (int64_t)size);
    }
    in_pieces(1, 1);
    test_cut_anywhere();
    test_pressure();
    test_last_words();
    test_version_1();
    test_bodies();
    test_body_of_known_length();
    test_upgrade();
    test_shutdown();
    apr_terminate();
    return unit_done();
}
