/* whose: the acceptor of a web server. Each line of the input is a token of Negotiate in base64;
 * the line of the output for it names the principal of the ticket, and the account that the KDC has
 * written into the PAC, which is what Windows goes by. "-": the token is refused, or there is no
 * PAC.
 *
 * usage: whose, with KRB5_KTNAME in the environment
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gssapi/gssapi.h>
#include <gssapi/gssapi_ext.h>
#include <openssl/evp.h>

/* KERB_VALIDATION_INFO ([MS-PAC] 2.5) as NDR writes it: where EffectiveName's length stands, and
 * its characters, which are the first that is pointed to. */
enum { NAME_LENGTH = 68, NAME_TEXT = 248 };

static void print_account(gss_name_t name)
{
    gss_buffer_desc attribute = { 0, "urn:mspac:logon-info" };
    gss_buffer_desc value = GSS_C_EMPTY_BUFFER, shown = GSS_C_EMPTY_BUFFER;
    const unsigned char *bytes;
    OM_uint32 minor;
    int authenticated, complete, more = -1;
    size_t i, size;

    attribute.length = strlen(attribute.value);
    if (GSS_ERROR(gss_get_name_attribute(&minor, name, &attribute, &authenticated, &complete,
                                         &value, &shown, &more))
        || !authenticated || value.length < NAME_TEXT) {
        puts("-");
        return;
    }
    bytes = value.value;
    size = (size_t)(bytes[NAME_LENGTH] | bytes[NAME_LENGTH + 1] << 8);
    for (i = 0; i < size && NAME_TEXT + i < value.length; i += 2)
        putchar(bytes[NAME_TEXT + i]);
    putchar('\n');
    gss_release_buffer(&minor, &value);
    gss_release_buffer(&minor, &shown);
}

static void accept_token(char *line)
{
    size_t size = strcspn(line, "\n"), pad = strcspn(line, "=\n");
    unsigned char *bytes = malloc(size + 3);
    gss_buffer_desc in = { 0, bytes }, out = GSS_C_EMPTY_BUFFER, text = GSS_C_EMPTY_BUFFER;
    gss_ctx_id_t context = GSS_C_NO_CONTEXT;
    gss_name_t name = GSS_C_NO_NAME;
    OM_uint32 minor, major;
    int n = EVP_DecodeBlock(bytes, (unsigned char *)line, (int)size);

    in.length = n > 0 ? (size_t)n - (size - pad) : 0;
    major = gss_accept_sec_context(&minor, &context, GSS_C_NO_CREDENTIAL, &in,
                                   GSS_C_NO_CHANNEL_BINDINGS, &name, NULL, &out, NULL, NULL, NULL);
    if (major != GSS_S_COMPLETE)
        puts("- -");
    else {
        gss_display_name(&minor, name, &text, NULL);
        printf("%.*s ", (int)text.length, (char *)text.value);
        print_account(name);
        gss_release_buffer(&minor, &text);
    }
    fflush(stdout);
    gss_release_name(&minor, &name);
    gss_release_buffer(&minor, &out);
    gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
    free(bytes);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;

    while (getline(&line, &room, stdin) > 0)
        accept_token(line);
    free(line);
    return 0;
}
