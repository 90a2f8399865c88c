/* ntlmssp_unicode: names between UTF-8 and UTF-16LE, strictly. Source: ntlm/unicode.c */
#ifndef NTLMSSP_UNICODE_H
#define NTLMSSP_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* SIZE bytes of UTF-16LE as UTF-8 with a terminator. 0: half a character, an unpaired
 * surrogate, a control character, or no room. */
int ntlmssp_from_utf16(const uint8_t *in, size_t size, char *out, size_t room);
/* UTF-8 as UTF-16LE; UPPER: in upper case. Bytes written, (size_t)-1: no UTF-8, or no room. */
size_t ntlmssp_to_utf16(const char *in, int upper, uint8_t *out, size_t room);
/* UTF-8 in upper case, up to three bytes for each one of IN and a terminator. 0: no UTF-8, or no room. */
int ntlmssp_upcase_utf8(const char *in, char *out, size_t room);
/* Is it UTF-8 from beginning to end, in the shortest form? */
int ntlmssp_is_utf8(const char *s);

#endif
