/* ntlmssp_upcase: letters in upper case as Windows writes them ([MS-NLMP] 3.3.2): one character for
 * one, so sharp s and ligatures stay, whatever the locale. Source: ntlm/upcase.c
 */
#ifndef NTLMSSP_UPCASE_H
#define NTLMSSP_UPCASE_H

#include <stdint.h>

/* The upper case of a code point, or itself. */
uint32_t ntlmssp_upcase(uint32_t c);

#endif
