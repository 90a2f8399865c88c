/* rpcping_bind.c: the bind, and who has refused an interface.
 *
 * The firewall of a proxy lets the server itself reject a refused interface (firewall/firewall.h),
 * so the answer looks as if the server had no such interface. Only what the server says elsewhere
 * can tell the two apart:
 *
 *   mgmt is accepted, X is rejected   mgmt lists the server's interfaces. If X is among them, the
 *                                     firewall has refused it; if not, the server has not got it.
 *   X is accepted, mgmt is rejected   the firewall has refused mgmt: the runtimes of Windows and
 *                                     Samba offer it to everybody. (Another server may lack it.)
 *   all are rejected                  on a second virtual connection the interface that is usual
 *                                     behind the port stands for X. Otherwise nothing is known.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "firewall/interfaces.h"
#include "rpcping.h"

const char *ping_interface_text(const ndr_syntax_t *interface, char text[PING_INTERFACE_TEXT])
{
    const char *name = dce_interface_name(&interface->uuid);
    char uuid[37];

    snprintf(text, PING_INTERFACE_TEXT, "%s %u.%u",
             name ? name : ndr_uuid_text(&interface->uuid, uuid), interface->major,
             interface->minor);
    return text;
}

int ping_has_mgmt(const ping_result_t *r)
{
    return r->bounds > 0 && r->bound[0].binding == PING_BOUND;
}

/* mgmt comes first. Where other interfaces are wanted, it may be refused. */
static void choose_interfaces(ping_result_t *r)
{
    const ping_options_t *o = r->options;
    unsigned i;

    r->bound[0].interface = dce_syntax_mgmt;
    r->bound[0].wanted = o->interfaces == 0;
    r->bounds = 1;
    for (i = 0; i < o->interfaces; i++) {
        ping_bound_t *b = &r->bound[r->bounds];

        if (dce_syntax_serves(&dce_syntax_mgmt, &o->interface[i])) {
            r->bound[0].wanted = 1;
            continue;
        }
        b->interface = o->interface[i];
        b->wanted = 1;
        r->bounds++;
    }
}

static int bind_to(ping_t *p, ping_bound_t *bound, unsigned count, ping_layer_t *layer,
                   ping_reason_t *why)
{
    if (!ping_vc_bind(&p->vc, bound, count)) {
        return ping_out_of_memory(layer, why);
    }
    return ping_await_answer(p, layer, why)
        && ping_vc_read_bind(&p->vc, bound, count, &p->result->frag, why);
}

/* ---- who has refused ---- */

static int is_unknown(const ping_bound_t *b)
{
    return b->binding == PING_REJECTED && b->reason == DCE_NO_INTERFACE;
}

/* The first that is bound; NULL: none. */
static const ping_bound_t *first_bound(const ping_result_t *r)
{
    unsigned i;

    for (i = 0; i < r->bounds; i++) {
        if (r->bound[i].binding == PING_BOUND) {
            return &r->bound[i];
        }
    }
    return NULL;
}

/* The first that is wanted and not bound; NULL: none. */
static const ping_bound_t *first_missing(const ping_result_t *r)
{
    unsigned i;

    for (i = 0; i < r->bounds; i++) {
        if (r->bound[i].wanted && r->bound[i].binding != PING_BOUND) {
            return &r->bound[i];
        }
    }
    return NULL;
}

static ping_binding_t by_the_servers_list(const ping_result_t *r, const ndr_syntax_t *asked)
{
    uint32_t i;

    for (i = 0; i < r->interface_count; i++) {
        if (dce_syntax_serves(&r->interfaces[i], asked)) {
            return PING_BY_FIREWALL;
        }
    }
    return PING_BY_SERVER;
}

/* What mgmt lists tells for each of the others who has refused it. */
static void judge_by_mgmt(ping_t *p)
{
    ping_result_t *r = p->result;
    ping_layer_t layer = PING_CALL;
    ping_reason_t why;
    unsigned i;

    if (!ping_ask_interfaces(p, &layer, &why)) {
        return;
    }
    for (i = 1; i < r->bounds; i++) {
        if (is_unknown(&r->bound[i])) {
            r->bound[i].binding = by_the_servers_list(r, &r->bound[i].interface);
        }
    }
}

static const char *usual_interface(const char *server)
{
    static const struct { const char *port, *name; } usual[] = {
        { ":135", "epm" }, { ":593", "epm" }, { ":3388", "tsgu" }, { ":6001", "emsmdb" },
        { ":6002", "rfr" }, { ":6004", "nspi" },
    };
    const char *port = strrchr(server, ':');
    size_t i;

    for (i = 0; i < sizeof(usual) / sizeof(*usual); i++) {
        if (strcmp(port, usual[i].port) == 0) {
            return usual[i].name;
        }
    }
    return NULL;
}

/* Is the interface accepted that is usual behind this port? It is noted among the others. */
static int usual_is_accepted(ping_t *p)
{
    ping_result_t *r = p->result;
    const char *name = usual_interface(r->target->server);
    const rpc_interface_info_t *info = name ? rpc_interface_by_name(name, strlen(name)) : NULL;
    ping_bound_t *b = &r->bound[r->bounds];
    ping_layer_t layer = PING_BIND;
    ping_reason_t why;

    if (!info || r->bounds > 1) {
        return 0;
    }
    rpc_uuid_parse(info->uuid, RPC_UUID_TEXT, b->interface.uuid.b);
    b->interface.major = info->major;
    b->interface.minor = info->minor;
    if (!ping_connect(p, &layer, &why) || !bind_to(p, b, 1, &layer, &why)) {
        return 0;
    }
    r->bounds++;
    return b->binding == PING_BOUND;
}

static void judge_rejections(ping_t *p)
{
    ping_bound_t *mgmt = &p->result->bound[0];

    if (mgmt->binding == PING_BOUND) {
        if (first_missing(p->result)) {
            judge_by_mgmt(p);
        }
    }
    else if (is_unknown(mgmt) && (first_bound(p->result) || usual_is_accepted(p))) {
        mgmt->binding = PING_BY_FIREWALL;
    }
}

/* ---- words ---- */

static void explain_firewall(const ping_result_t *r, const ping_bound_t *b, ping_reason_t *why)
{
    const ping_bound_t *accepted = first_bound(r);
    char text[PING_INTERFACE_TEXT];

    ping_reason_add(why, "%s is refused by the proxy's firewall (RpcAllowInterfaces, "
                    "Require rpc-interface): ", ping_interface_text(&b->interface, text));
    if (b == &r->bound[0]) {
        ping_reason_add(why, "%s is accepted, and servers of Windows and Samba offer mgmt, too",
                        accepted ? ping_interface_text(&accepted->interface, text) : "another");
    }
    else {
        ping_reason_add(why, "the server lists it among its interfaces, and yet the bind is "
                        "answered as if there were none");
    }
}

/* Nothing tells the server and the firewall apart. */
static void explain_unknown(const ping_result_t *r, const ping_bound_t *b, ping_reason_t *why)
{
    char text[PING_INTERFACE_TEXT];

    ping_reason_add(why, "%s is rejected: %s, or the proxy's firewall refuses it "
                    "(RpcAllowInterfaces%s): the answer is the same, ",
                    ping_interface_text(&b->interface, text), dce_reject_text(b->reason),
                    first_bound(r) ? "" : ", RpcMinAuthLevel");
    if (b == &r->bound[0]) {
        ping_reason_add(why, "but servers of Windows and Samba offer mgmt, so the firewall is "
                        "likely; -I with an interface that is allowed makes it certain");
    }
    else {
        ping_reason_add(why, "and mgmt, which lists the server's interfaces, cannot be asked");
    }
    ping_reason_add(why, ". The error log of mod_rpcproxy names each refused bind");
}

static void explain_rejection(const ping_result_t *r, const ping_bound_t *b, ping_reason_t *why)
{
    char text[PING_INTERFACE_TEXT];

    if (b->binding == PING_BY_FIREWALL) {
        explain_firewall(r, b, why);
    }
    else if (b->binding == PING_BY_SERVER) {
        ping_reason_add(why, "%s is rejected: the server does not offer it, and does not list it "
                        "among its interfaces", ping_interface_text(&b->interface, text));
    }
    else if (is_unknown(b)) {
        explain_unknown(r, b, why);
    }
    else {
        ping_reason_add(why, "%s is rejected: %s", ping_interface_text(&b->interface, text),
                        dce_reject_text(b->reason));
    }
}

/* "emsmdb 0.81, mgmt 1.0, fragments of 4280 bytes; ..." */
static void tell_bound(ping_t *p, double ms)
{
    ping_result_t *r = p->result;
    char text[PING_INTERFACE_TEXT];
    ping_reason_t words = { .text = "" };
    unsigned i;

    for (i = r->bounds; i-- > 0;) {
        if (r->bound[i].binding == PING_BOUND) {
            ping_reason_add(&words, "%s, ", ping_interface_text(&r->bound[i].interface, text));
        }
    }
    ping_reason_add(&words, "fragments of %u bytes", r->frag);
    if (!ping_has_mgmt(r)) {
        ping_reason_add(&words, "; ");
        explain_rejection(r, &r->bound[0], &words);
    }
    ping_works(p, PING_BIND, ms, "%s", words.text);
}

int ping_walk_bind(ping_t *p)
{
    double since = ping_now(), ms;
    ping_result_t *r = p->result;
    ping_layer_t layer = PING_BIND;
    const ping_bound_t *missing;
    ping_reason_t why;

    choose_interfaces(r);
    if (!bind_to(p, r->bound, r->bounds, &layer, &why)) {
        return ping_fails(p, layer, since, &why);
    }
    ms = ping_now() - since;
    judge_rejections(p);
    missing = first_missing(r);
    if (missing) {
        explain_rejection(r, missing, &why);
        return ping_fails(p, PING_BIND, since, &why);
    }
    tell_bound(p, ms);
    return 1;
}
