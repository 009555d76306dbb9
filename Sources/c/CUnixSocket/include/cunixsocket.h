/* Unix sockets that keep messages apart and pass an open file along: the parts of <sys/socket.h> that Swift does not
 * see (the CMSG macros). Functions return -1 with errno set when they fail. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A connected SOCK_SEQPACKET socket to the one that listens at path, or -1. A listener whose queue stays full for 10 s
 * is EAGAIN. */
int cunix_connect(const char *path);

/* A listening SOCK_SEQPACKET socket at path, whose file gets this mode; one that nobody listens on is replaced. */
int cunix_listen(const char *path, mode_t mode);

/* The next client of a listening socket, close-on-exec, or -1. */
int cunix_accept(int socket);

/* Sends one message, with an open file unless descriptor is -1. Waits while the other side does not read. */
int cunix_send(int socket, const void *bytes, size_t count, int descriptor);

/* Sends one message or nothing, without waiting: EAGAIN while the other side does not read. */
int cunix_send_now(int socket, const void *bytes, size_t count);

/* Receives one message; *descriptor is the file that came with it (close-on-exec), or -1. Returns its length, 0 at the
 * end. A message longer than the buffer, or with more than one file, is EMSGSIZE; nothing of it stays open. */
ssize_t cunix_receive(int socket, void *bytes, size_t count, int *descriptor);

/* A descriptor that poll() finds readable from cunix_ring() to cunix_silence(), or -1. Neither of the two waits. */
int cunix_bell(void);
void cunix_ring(int bell);
void cunix_silence(int bell);

/* Who is at the other end. */
int cunix_peer(int socket, pid_t *pid, uid_t *uid);
