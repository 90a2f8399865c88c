/* ntlmssp_unicode: converts names between UTF-8 and UTF-16LE. Malformed text is refused. */
#ifndef NTLMSSP_UNICODE_H
#define NTLMSSP_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* Writes SIZE bytes of UTF-16LE as UTF-8 with a terminator. Returns 0 for half a character, an
 * unpaired surrogate, a control character, or when there is no room. */
int ntlmssp_from_utf16(const uint8_t *in, size_t size, char *out, size_t room);
/* Writes UTF-8 as UTF-16LE, with UPPER in upper case. Returns the bytes written, or (size_t)-1 when
 * IN is not UTF-8 or there is no room. */
size_t ntlmssp_to_utf16(const char *in, int upper, uint8_t *out, size_t room);
/* Writes UTF-8 in upper case: up to three bytes for each byte of IN, and a terminator. Returns 0
 * when IN is not UTF-8 or there is no room. */
int ntlmssp_upcase_utf8(const char *in, char *out, size_t room);
/* Is all of S valid UTF-8 in its shortest form? */
int ntlmssp_is_utf8(const char *s);

#endif
