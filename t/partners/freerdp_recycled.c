/* Preloaded into FreeRDP 2.11, sets one defect of it aside: having replaced its OUT channel, it
 * takes the first 4 bytes of the successor for the command of the OUT_R2/B3 that it has read
 * before, and gives up. Here these 4 bytes stay unread, and that leftover becomes a Ping. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#define RTS_HEADER 20
static const unsigned char b3[RTS_HEADER] = { 5, 0, 20, 3, 16, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0,
                                              0x20, 0, 1, 0 };
static const unsigned char ping[RTS_HEADER] = { 5, 0, 20, 3, 16, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0,
                                                1, 0, 0, 0 };

int BIO_read(void *bio, void *data, int size);

int BIO_read(void *bio, void *data, int size)
{
    static int (*next)(void *, void *, int);
    unsigned char *header = (unsigned char *)data - RTS_HEADER;

    /* A fragment is read as 16 bytes and the rest: 4 bytes alone are the leftover's only */
    if (size == 4 && !memcmp(header, b3, RTS_HEADER)) {
        memcpy(header, ping, RTS_HEADER);
        memset(data, 0, 4);
        return 4;
    }
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "BIO_read");
    return next(bio, data, size);
}
