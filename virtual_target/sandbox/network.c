// The network of a virtual target "sandbox": between U-Boot's driver (arch/sandbox/cpu/eth-raw-os.c) and its end of a
// virtual cable.
#define _GNU_SOURCE
#include "faults.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void count_packet(void) {
    counters.packets++;
    if (counters.packets == faults.cut_packet) cut_power();
    if (counters.packets % 32 == 0) note_counters();
}

// The driver asks for SO_BINDTODEVICE, which a packet socket ignores: it would hear every interface of the namespace.
int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    if (level != SOL_SOCKET || name != SO_BINDTODEVICE) return (int)syscall(SYS_setsockopt, fd, level, name, value, length);
    struct sockaddr_ll device = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(value)};
    if (!device.sll_ifindex) {
        errno = ENODEV;
        return -1;
    }
    // Nor does a network card hear itself.
    int one = 1;
    if (syscall(SYS_setsockopt, fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one)) return -1;
    // Room for a window of packets, each of which the kernel counts as what it was cut from. Where only the kernel's limit
    // is allowed, that has to do.
    int room = 4 << 20;
    if (syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
        syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return bind(fd, (struct sockaddr *)&device, sizeof device);
}

// The driver polls as fast as it can. Where nothing is there this waits up to 1 ms, which costs no time on the clock of the
// network, and leaves the processor to the other targets.
ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags, struct sockaddr *restrict from,
                 socklen_t *restrict length) {
    ssize_t got = syscall(SYS_recvfrom, fd, buffer, size, flags, from, length);
    if (got < 0 && errno == EAGAIN) {
        struct pollfd event = {.fd = fd, .events = POLLIN};
        if (poll(&event, 1, 1) <= 0) {
            errno = EAGAIN;
            return -1;
        }
        got = syscall(SYS_recvfrom, fd, buffer, size, flags, from, length);
    }
    if (got > 0) count_packet();
    return got;
}

ssize_t sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    ssize_t sent = syscall(SYS_sendto, fd, buffer, size, flags, to, length);
    if (sent > 0) count_packet();
    return sent;
}
