#define _GNU_SOURCE
#include "cunixsocket.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int address_of(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address->sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address->sun_path, path);
    return 0;
}

static int close_keeping_errno(int descriptor)
{
    int code = errno;
    close(descriptor);
    errno = code;
    return -1;
}

int cunix_connect(const char *path)
{
    struct sockaddr_un address;
    if (address_of(path, &address) != 0)
        return -1;
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return -1;
    /* The time limit of a send is that of connect() too; the caller sets its own for what follows. */
    struct timeval limit = { .tv_sec = 10 };
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(descriptor, (struct sockaddr *)&address, sizeof(address)) != 0)
        return close_keeping_errno(descriptor);
    return descriptor;
}

int cunix_listen(const char *path, mode_t mode)
{
    struct sockaddr_un address;
    if (address_of(path, &address) != 0)
        return -1;
    int other = cunix_connect(path);
    if (other >= 0) {
        close(other);
        errno = EADDRINUSE;
        return -1;
    }
    /* Left behind by a process that was killed; anything else at this path stays. */
    struct stat status;
    if (errno == ECONNREFUSED && lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
        unlink(path);
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return -1;
    if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)) != 0)
        return close_keeping_errno(descriptor);
    if (chmod(path, mode) != 0 || listen(descriptor, 64) != 0)
        return close_keeping_errno(descriptor);
    return descriptor;
}

int cunix_accept(int socket)
{
    return accept4(socket, NULL, NULL, SOCK_CLOEXEC);
}

union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr aligned;
};

int cunix_send(int socket, const void *bytes, size_t count, int descriptor)
{
    union control control;
    struct iovec part = { .iov_base = (void *)bytes, .iov_len = count };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (descriptor >= 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -1 : 0;
}

int cunix_send_now(int socket, const void *bytes, size_t count)
{
    ssize_t sent;
    do
        sent = send(socket, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -1 : 0;
}

ssize_t cunix_receive(int socket, void *bytes, size_t count, int *descriptor)
{
    /* Room for more files than one, so that those that should not be there are seen, and closed. */
    union {
        char bytes[CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct iovec part = { .iov_base = bytes, .iov_len = count };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)
    };
    *descriptor = -1;
    ssize_t received;
    do
        received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return -1;
    int files = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t number = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < number; index++) {
            int file;
            memcpy(&file, CMSG_DATA(header) + index * sizeof(int), sizeof(int));
            if (files++ == 0)
                *descriptor = file;
            else
                close(file);
        }
    }
    if (files > 1 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        if (*descriptor >= 0)
            close(*descriptor);
        *descriptor = -1;
        errno = EMSGSIZE;
        return -1;
    }
    return received;
}

int cunix_bell(void)
{
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void cunix_ring(int bell)
{
    /* A counter that is full is as readable as one more. */
    eventfd_write(bell, 1);
}

void cunix_silence(int bell)
{
    eventfd_t rings;
    eventfd_read(bell, &rings);
}

int cunix_peer(int socket, pid_t *pid, uid_t *uid)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return -1;
    *pid = peer.pid;
    *uid = peer.uid;
    return 0;
}
