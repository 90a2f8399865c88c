/* rpcload_long: "rpcload long", virtual connections that outlive many channels.
 */
#ifndef RPCLOAD_LONG_H
#define RPCLOAD_LONG_H

/* Returns the exit status: 0 when every byte has arrived and nothing ended early. */
int rpcload_long(int argc, char **argv);

#endif
