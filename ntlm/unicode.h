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

#endif
