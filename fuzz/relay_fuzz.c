/* relay_fuzz.c: a channel to a proxy that is already there, whose client and upstream say, close,
 * fail and read what a script has them.
 *
 * Whatever they do, what reaches the upstream is the request's head and then whole PDUs, the first
 * of which has claimed its cookie, or one chunked body and nothing behind it. What reaches the
 * client is heads with sound lines, and behind that of an OUT channel whole PDUs.
 */
#include "fake.h"
#include "script.h"

#include "io/secure.h"
#include "proxy/relay.h"
#include "wire/chunks.h"
#include "wire/dcerpc.h"

#define HEAD "RPC_IN_DATA /rpc/rpcproxy.dll?mail:6001 HTTP/1.1\r\n\r\n"
#define ROOM 65535              /* that a far end takes at once */

/* What one far end has heard. */
typedef struct ear {
    rpc_bytes_t all;
    uint64_t size;
} ear_t;

typedef struct stage {
    fake_world_t *world;
    fake_peer_t *client, *upstream;
    ear_t client_ear, upstream_ear;
    rpc_channel_spec_t spec;
    rpc_log_t log;
    rpc_relay_t *relays;
    rpc_reason_t refuse, reason;
    int claims, ended, error;
} stage_t;

static const rpc_map_t maps[] = {
    { RPC_MAP_URL, "http://a/", "https://example.com/" },
    { RPC_MAP_COOKIE_PATH, "/a", "/" },
    { RPC_MAP_COOKIE_DOMAIN, "a", "example.com" },
};

/* ---- callbacks ---- */

static void hear(ear_t *ear, const uint8_t *data, size_t len)
{
    MUST(rpc_bytes_put(&ear->all, data, len) == 0, "out of memory");
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
    stage_t *t = peer->ctx;

    MUST(answer->status >= 500 && !t->error, "a second answer, %d", answer->status);
    t->error = answer->status;
}

static rpc_reason_t claim(void *ctx, const rts_cookie_t *vc, int replacing, int *first)
{
    stage_t *t = ctx;

    MUST(vc, "a claim without a cookie");
    t->claims++;
    return t->refuse;
}

static void ended(void *ctx, const rpc_end_t *end)
{
    stage_t *t = ctx;

    script_trace("ends: %s: %s", rpc_reason_info(end->reason)->token, end->why);
    MUST(!t->ended, "a second end");
    MUST(end->reason > RPC_REASON_NONE && end->reason < RPC_REASON_COUNT, "reason %d", end->reason);
    MUST(end->received == t->client->taken, "%lu bytes of %lu", (unsigned long)end->received,
         (unsigned long)t->client->taken);
    MUST(end->from_upstream == t->upstream->taken, "%lu bytes of %lu",
         (unsigned long)end->from_upstream, (unsigned long)t->upstream->taken);
    t->ended = 1;
    t->reason = end->reason;
}

/* ---- the script ---- */

static void fill_spec(stage_t *t, uint8_t how, uint8_t more)
{
    rpc_role_t role = (rpc_role_t)(how % 3);
    rpc_upstream_t upstream = {
        .host = "a", .port = 443, .carry = (rpc_carry_t)((how >> 2) % 3),
        .expects = how >> 4 & 1, .http10 = how >> 5 & 1, .chunked = how >> 6 & 1,
        .timeout = apr_time_from_sec(30),
        .fields = more & 1 ? "Via: 1.1 a\r\n" : NULL, .maps = maps, .map_count = 3,
    };

    t->spec = (rpc_channel_spec_t){
        .role = role, .content_length = how & 128 ? 300 : INT64_MAX, .upstream = upstream,
        .connection_timeout = apr_time_from_sec(120), .first_pdu_timeout = apr_time_from_sec(10),
        .setup_timeout = apr_time_from_sec(20),
        .idle_timeout = more & 2 ? apr_time_from_sec(60) : 0,
        .least_level = more & 4 ? RPC_AUTH_LEVEL_CONNECT : RPC_AUTH_LEVEL_NONE,
        .log = &t->log, .claim = claim, .ended = ended, .ctx = t,
    };
    t->refuse = more & 8 ? RPC_REASON_DUPLICATE_COOKIE : RPC_REASON_NONE;
    if (how & 128 && role != RPC_OUTBOUND)
        t->client->length = 300;
}

static void begin(stage_t *t)
{
    rpc_loop_t *loop = t->world->loops[0];
    rpc_stream_t *client = fake_open_http(t->client, loop);

    t->spec.upstream.stream = __wrap_rpc_stream_open(loop, t->upstream->number, NULL);
    rpc_secure_put(t->spec.upstream.stream, HEAD, sizeof(HEAD) - 1);
    rpc_relay_start(loop, &t->relays, client, &t->spec);
}

static void say_known(fake_peer_t *peer, uint8_t arg)
{
    static const char *const heads[] = {
        "HTTP/1.1 200 Success\r\nContent-Length: 1073741824\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: a, Via\r\nA: b\r\n\r\n",
        "HTTP/1.1 401 No\r\nContent-Length: 3\r\nSet-Cookie: a=b; path=/a; domain=A\r\n\r\n",
        "HTTP/1.1 101 Up\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 302 Go\r\nLocation: http://a/b\r\n\r\n", "4\r\nabcd\r\n", "0\r\n\r\n",
    };
    const char *text = heads[arg % (sizeof(heads) / sizeof(heads[0]))];

    fake_say(peer, text, strlen(text));
}

static void say_rts(fake_peer_t *peer, uint8_t arg)
{
    uint8_t buf[RTS_MAX_SIZE];
    rts_pdu_t pdu;

    rts_begin(&pdu, (rts_pdu_id_t)(1 + arg % (RTS_PDU_COUNT - 1)));
    fake_say(peer, buf, rts_write(&pdu, buf, sizeof(buf)));
}

static void say_rpc(fake_peer_t *peer, uint8_t arg)
{
    static uint8_t buf[DCERPC_MAX_PDU];
    uint32_t size = traffic_size(arg);

    memset(buf, arg, size);
    dcerpc_header_write(buf, arg >> 4, DCERPC_WHOLE, (uint16_t)size, 1);
    fake_say(peer, buf, size);
}

/* A step of two bytes; LEFT is what follows them. Returns how much of that it has used. */
static size_t step(stage_t *t, uint8_t op, uint8_t arg, const uint8_t *left, size_t size)
{
    fake_peer_t *peer = op & 128 ? t->upstream : t->client;
    size_t n = arg < size ? arg : size;

    script_trace("%s: %d %d", op & 128 ? "upstream" : "client", op & 15, arg);
    switch (op & 15) {
    case 0: case 1: case 2:
        fake_say(peer, left, n);
        return n;
    case 3: case 4:
        say_known(peer, arg);
        break;
    case 5: case 6:
        say_rts(peer, arg);
        break;
    case 7: case 8:
        say_rpc(peer, arg);
        break;
    case 9:
        peer->chunk = arg;
        break;
    case 10:
        fake_take(peer, arg < 250 ? arg : arg == 250 ? ROOM : FAKE_EVER);
        break;
    case 11:
        fake_advance(t->world, apr_time_from_sec(arg));
        break;
    case 12:
        fake_eof(peer);
        break;
    case 13:
        fake_fail(peer, arg & 1, arg & 2);
        break;
    default:
        fake_turn(t->world);
    }
    if (!(op & 64))
        fake_settle(t->world);
    return 0;
}

/* ---- what has been heard ---- */

static uint8_t *flat(ear_t *ear)
{
    uint8_t *all = malloc(ear->size + 1), *at = all;
    const uint8_t *data;
    size_t len;

    MUST(all, "out of memory");
    while ((data = rpc_bytes_peek(&ear->all, &len))) {
        memcpy(at, data, len);
        at += len;
        rpc_bytes_drop(&ear->all, len);
    }
    return all;
}

/* Whole PDUs, but for what was cut off by a far end that reads no more. */
static void check_pdus(const uint8_t *data, size_t len)
{
    dcerpc_framer_t framer = { .partial = NULL };
    dcerpc_header_t header;
    const uint8_t *pdu;
    dcerpc_frame_t frame;

    while ((frame = dcerpc_framer_next(&framer, &data, &len, &pdu, &header)) == DCERPC_FRAME_PDU)
        ;
    MUST(frame == DCERPC_FRAME_MORE, "%s", framer.error);
    dcerpc_framer_reset(&framer);
}

static void check_upstream(stage_t *t)
{
    size_t head = sizeof(HEAD) - 1;
    size_t body = t->upstream_ear.size > head ? t->upstream_ear.size - head : 0;
    uint8_t *all = flat(&t->upstream_ear);
    const uint8_t *at = all + head, *run;
    rpc_chunks_t chunks = { .left = 0 };

    MUST(memcmp(all, HEAD, body ? head : t->upstream_ear.size) == 0, "another head");
    if (body && t->spec.upstream.carry == RPC_CARRY_RPC) {
        MUST(t->spec.role == RPC_MIXED || (t->claims == 1 && !t->refuse), "a body without a claim");
        check_pdus(at, body);
    }
    else if (body && t->spec.upstream.carry == RPC_CARRY_BODY && t->spec.upstream.chunked) {
        while (rpc_chunks_next(&chunks, &at, &body, &run))
            ;
        MUST(!body || chunks.error, "%zu bytes behind the body", body);
    }
    free(all);
}

/* One head; returns its size, 0 when it is cut short. */
static size_t check_head(const char *all, size_t size, int *status)
{
    const char *line = all, *end;

    for (;; line = end + 1) {
        end = memchr(line, '\n', size - (size_t)(line - all));
        if (!end)
            return 0;
        MUST(end > line && end[-1] == '\r', "a line without CR");
        if (end - line == 1)
            return (size_t)(end - all) + 1;
        MUST(!memchr(line, '\r', (size_t)(end - line) - 1), "CR within a line");
        if (line == all)
            *status = atoi(line + 9);
        else
            MUST(memchr(line, ':', (size_t)(end - line)), "a line that is no field");
    }
}

static void check_client(stage_t *t)
{
    uint8_t *all = flat(&t->client_ear);
    size_t at = 0, n = 1;
    int status = t->error;

    while (n && at < t->client_ear.size && (status < 200 && status != 101) && !t->error) {
        n = check_head((const char *)all + at, t->client_ear.size - at, &status);
        at += n;
    }
    MUST(!t->error || !at, "an answer of ours behind one of the upstream");
    if (n && !t->error && status >= 200 && status < 300 && t->spec.role == RPC_OUTBOUND
        && t->spec.upstream.carry == RPC_CARRY_RPC)
        check_pdus(all + at, t->client_ear.size - at);
    free(all);
}

static void check_bounds(const stage_t *t)
{
    const fake_peer_t *const peers[] = { t->client, t->upstream };
    size_t i;

    for (i = 0; i < 2; i++)
        if (peers[i]->stream)
            MUST(peers[i]->stream->out.size <= 3 * RPC_STREAM_HIGH, "%zu bytes wait for %zu",
                 peers[i]->stream->out.size, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    stage_t t = { .world = fake_world_new(NULL) };
    size_t at = 2;

    script_log(&t.log);
    t.client = fake_peer_new(t.world, 1);
    t.upstream = fake_peer_new(t.world, 0);
    t.client->ctx = t.upstream->ctx = &t;
    t.client->heard = client_hears;
    t.client->responded = client_refused;
    t.upstream->heard = upstream_hears;
    fill_spec(&t, size ? data[0] : 0, size > 1 ? data[1] : 0);
    begin(&t);
    for (; at + 2 <= size && !t.ended; check_bounds(&t))
        at += 2 + step(&t, data[at], data[at + 1], data + at + 2, size - at - 2);
    fake_settle(t.world);
    if (!t.ended)
        rpc_relay_end(&t.relays, RPC_REASON_SHUTDOWN);
    fake_settle(t.world);
    MUST(t.ended && !t.relays, "lives on");
    check_upstream(&t);
    check_client(&t);
    fake_world_free(t.world);
    return 0;
}
