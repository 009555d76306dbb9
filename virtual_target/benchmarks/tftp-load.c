// A fast TFTP client that loads one file with many transfers at once: the same client for every server of bench-tftp.
//
//     tftp-load SERVER PORT FILE COUNT FIRST-ADDRESS PATH-FORMAT BLKSIZE WINDOWSIZE
//
// Transfer n of COUNT asks SERVER for PATH-FORMAT (n, from 1, in the place of its %02x) from the address FIRST-ADDRESS
// + n - 1, and compares what comes with FILE. One process, one poll loop; ACKs at a window's end and once at a gap
// (RFC 1350, 2347, 2348, 7440), and again after a second of silence. Prints
// `SECONDS BYTES PACKETS UNEXPECTED WINDOW`; exit status 1 where a transfer failed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { batch = 64, silences = 10 };

struct transfer {
    int socket;
    struct sockaddr_in peer;
    unsigned char request[512];
    size_t request_length;
    unsigned long block, next_ack, reported, window, block_size;
    int connected, finished, silences;
    double heard;
};

static const unsigned char *file;
static size_t file_size;
static unsigned long long packets, unexpected;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void acknowledge(struct transfer *t) {
    unsigned char ack[4] = {0, 4, t->block >> 8 & 0xff, t->block & 0xff};
    if (send(t->socket, ack, sizeof ack, 0) < 0) warn("send");
}

static void request(struct transfer *t) {
    if (sendto(t->socket, t->request, t->request_length, 0, (void *)&t->peer, sizeof t->peer) < 0) err(1, "sendto");
}

// Takes the options of an OACK.
static void options(struct transfer *t, const char *text, size_t length) {
    const char *end = text + length;
    while (text < end) {
        const char *value = text + strnlen(text, end - text) + 1;
        if (value >= end) break;
        if (!strcasecmp(text, "blksize")) t->block_size = strtoul(value, NULL, 10);
        if (!strcasecmp(text, "windowsize")) t->window = strtoul(value, NULL, 10);
        text = value + strnlen(value, end - value) + 1;
    }
}

static void take(struct transfer *t, const unsigned char *packet, size_t length) {
    if (length < 4 || packet[0] != 0) errx(1, "a packet of %zu bytes", length);
    switch (packet[1]) {
    case 5: errx(1, "server says: error %d: %.100s", packet[2] << 8 | packet[3], packet + 4);
    case 6:
        if (t->block) return;
        options(t, (const char *)packet + 2, length - 2);
        t->next_ack = t->window;
        acknowledge(t);
        return;
    case 3: break;
    default: errx(1, "an unexpected packet %d", packet[1]);
    }
    packets++;
    if ((unsigned long)(packet[2] << 8 | packet[3]) != ((t->block + 1) & 0xffff)) {
        unexpected++;
        // Behind a gap, or what is here already: said once.
        if (t->window > 1 && t->reported != t->block) {
            t->reported = t->block;
            t->next_ack = t->block + t->window;
            acknowledge(t);
        }
        return;
    }
    size_t offset = t->block * t->block_size, payload = length - 4;
    if (offset + payload > file_size || memcmp(file + offset, packet + 4, payload)) errx(1, "wrong bytes at %zu", offset);
    t->block++;
    if (payload < t->block_size) {
        if (offset + payload != file_size) errx(1, "ended at %zu of %zu bytes", offset + payload, file_size);
        t->finished = 1;
        acknowledge(t);
    } else if (t->block == t->next_ack) {
        t->next_ack += t->window;
        acknowledge(t);
    }
}

static void receive(struct transfer *t) {
    static unsigned char buffers[batch][65536];
    static struct iovec places[batch];
    static struct sockaddr_in senders[batch];
    static struct mmsghdr messages[batch];
    for (int i = 0; i < batch; i++) {
        places[i] = (struct iovec){buffers[i], sizeof buffers[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &places[i], .msg_iovlen = 1};
        if (!t->connected) {
            messages[i].msg_hdr.msg_name = &senders[i];
            messages[i].msg_hdr.msg_namelen = sizeof senders[i];
        }
    }
    int count = recvmmsg(t->socket, messages, t->connected ? batch : 1, MSG_DONTWAIT, NULL);
    if (count < 0) {
        if (errno == EAGAIN || errno == EINTR) return;
        err(1, "recvmmsg");
    }
    if (!t->connected) {
        t->connected = 1;
        if (connect(t->socket, (void *)&senders[0], sizeof senders[0]) < 0) err(1, "connect");
    }
    t->heard = now();
    t->silences = 0;
    for (int i = 0; i < count && !t->finished; i++) take(t, buffers[i], messages[i].msg_len);
}

static void begin(struct transfer *t, char **arguments, int number) {
    struct sockaddr_in local = {.sin_family = AF_INET};
    inet_pton(AF_INET, arguments[5], &local.sin_addr);
    local.sin_addr.s_addr = htonl(ntohl(local.sin_addr.s_addr) + number - 1);
    t->socket = socket(AF_INET, SOCK_DGRAM, 0);
    if (t->socket < 0 || bind(t->socket, (void *)&local, sizeof local) < 0) err(1, "socket");
    t->peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(arguments[2]))};
    if (inet_pton(AF_INET, arguments[1], &t->peer.sin_addr) != 1) errx(1, "bad address %s", arguments[1]);
    t->block_size = 512;
    t->window = 1;
    t->next_ack = 1;
    t->reported = -1;
    char path[200];
    // The format comes from bench-tftp.
    snprintf(path, sizeof path, arguments[6], number);
    const char *words[] = {path, "octet", "blksize", arguments[7], "windowsize", arguments[8]};
    t->request[1] = 1;
    t->request_length = 2;
    for (int i = 0; i < 6; i++) {
        size_t length = strlen(words[i]) + 1;
        if (t->request_length + length > sizeof t->request) errx(1, "path too long");
        memcpy(t->request + t->request_length, words[i], length);
        t->request_length += length;
    }
    t->heard = now();
    request(t);
}

int main(int count, char **arguments) {
    if (count != 9) errx(64, "usage: tftp-load SERVER PORT FILE COUNT FIRST-ADDRESS PATH-FORMAT BLKSIZE WINDOWSIZE");
    int descriptor = open(arguments[3], O_RDONLY);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) < 0) err(1, "%s", arguments[3]);
    file_size = status.st_size;
    file = mmap(NULL, file_size, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor, 0);
    if (file == MAP_FAILED) err(1, "mmap");
    int number = atoi(arguments[4]);
    if (number < 1 || number > 250) errx(64, "COUNT must be 1 to 250");
    struct transfer *transfers = calloc(number, sizeof *transfers);
    struct pollfd *polls = calloc(number, sizeof *polls);
    double started = now();
    for (int i = 0; i < number; i++) {
        begin(&transfers[i], arguments, i + 1);
        polls[i] = (struct pollfd){transfers[i].socket, POLLIN, 0};
    }
    for (int rest = number; rest > 0;) {
        poll(polls, number, 100);
        double time = now();
        for (int i = 0; i < number; i++) {
            struct transfer *t = &transfers[i];
            if (t->finished) continue;
            if (polls[i].revents) receive(t);
            if (t->finished) {
                // The socket stays open: what is still under way must bring no ICMP.
                polls[i].fd = -1;
                rest--;
            } else if (time - t->heard > 1) {
                if (++t->silences > silences) errx(1, "transfer %d: silence at block %lu", i + 1, t->block);
                t->heard = time;
                if (t->connected) acknowledge(t);
                else request(t);
            }
        }
    }
    double seconds = now() - started;
    printf("%.4f %llu %llu %llu %lu\n", seconds, (unsigned long long)file_size * number, packets, unexpected,
           transfers[0].window);
    return 0;
}
