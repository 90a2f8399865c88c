/* ntlmssp_upcase: upper case as Windows has it ([MS-NLMP] 3.3.2): each character becomes exactly
 * one character, so sharp s and ligatures stay as they are. The locale does not matter.
 */
#ifndef NTLMSSP_UPCASE_H
#define NTLMSSP_UPCASE_H

#include <stdint.h>

/* The upper case of a code point, or the code point itself when it has none. */
uint32_t ntlmssp_upcase(uint32_t c);

#endif
