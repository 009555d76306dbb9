/* A Raspberry Pi's USB Ethernet for QEMU's Pi machines, whose USB controller can have it as a usb-redir device: speaks
 * usbredir (its protocol: usbredirproto.h) on a Unix socket, and passes Ethernet frames to and from a tap. chip.c is the
 * chip. usage() below has the options; virtual_target/virtual-target starts it and QEMU.
 *
 * Where the device tree has the chip (Pi 3: usb1@1/usbether@1, Pi 3+: usb1@1/usb1@1/ethernet@1, each the alias ethernet0)
 * U-Boot gives it number 0, and so ${ethaddr}, and puts that into Linux's device tree:
 *
 *   -chardev socket,id=eth,path=SOCKET -device usb-hub,port=1 -device usb-redir,chardev=eth,port=1.1         (Pi 3)
 *   -device usb-hub,port=1 -device usb-hub,port=1.1 -device usb-redir,chardev=eth,port=1.1.1                 (Pi 3+)
 *
 * QEMU's hub is a full-speed one, hence 64 bytes a packet; on the root port (--high-speed) U-Boot wants eth1addr. */
#define _GNU_SOURCE
#include "chip.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <usbredirparser.h>

enum { EP_IN = 0x81, EP_OUT = 0x02, EP_INT = 0x83, MOST_WAITING = 16, LARGEST_TRANSFER = 65536, FRAMES_A_TURN = 64,
       MOST_CONTROL = 256 };
enum { READ_REGISTER = 0xa1, WRITE_REGISTER = 0xa0, READ_STATISTICS = 0xa2 }; /* vendor requests, of both chips */

static struct usbredirparser *parser;
static struct chip_settings settings = {.kind = LAN9514, .packet = 64, .tap = -1};
static int host = -1;
static bool interrupts;
static struct { uint64_t id; int length; } waiting[MOST_WAITING]; /* bulk INs that the chip has refused so far */
static int waiters;
static bool ended_full; /* the last answer filled its last packet: an empty one has to say that it was the last */
static uint8_t transfer[LARGEST_TRANSFER];
static volatile sig_atomic_t is_over; /* SIGTERM: say what was counted, and end */

static void end(int signal) {
    (void)signal;
    is_over = 1;
}

void say(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("usb-ethernet: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
}

static void fail(const char *what) {
    fprintf(stderr, "usb-ethernet: error: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int smaller(int a, int b) { return a < b ? a : b; }

/* Bulk transfers. */

static void answer_bulk(uint64_t id, uint8_t endpoint, uint8_t status, uint8_t *data, int length) {
    struct usb_redir_bulk_packet_header header = {
        .endpoint = endpoint, .status = status, .length = (uint16_t)length, .length_high = (uint16_t)(length >> 16)};
    usbredirparser_send_bulk_packet(parser, id, &header, data, data == NULL ? 0 : length);
}

static void forget_waiting(int index) {
    memmove(waiting + index, waiting + index + 1, sizeof waiting[0] * (size_t)(--waiters - index));
}

static void answer_waiting(void) {
    while (waiters > 0 && chip_has_frames()) {
        int length = chip_bulk_in(transfer, smaller(waiting[0].length, LARGEST_TRANSFER));
        if (length == 0) break;
        answer_bulk(waiting[0].id, EP_IN, usb_redir_success, transfer, length);
        forget_waiting(0);
    }
}

static void bulk_in(uint64_t id, int wanted) {
    chip_take_frames(FRAMES_A_TURN);
    bool only_ends = ended_full;
    int length = only_ends ? 0 : chip_bulk_in(transfer, smaller(wanted, LARGEST_TRANSFER));
    ended_full = length > 0 && length < wanted && (unsigned)length % settings.packet == 0;
    if (length == 0 && !only_ends && chip_waits_for_frames() && waiters < MOST_WAITING) {
        waiting[waiters].id = id, waiting[waiters++].length = wanted;
    } else {
        answer_bulk(id, EP_IN, usb_redir_success, transfer, length);
    }
}

static void on_bulk(void *unused, uint64_t id, struct usb_redir_bulk_packet_header *header, uint8_t *data, int length) {
    (void)unused;
    int wanted = header->length | header->length_high << 16;
    if (header->endpoint == EP_IN) {
        bulk_in(id, wanted);
    } else if (header->endpoint == EP_OUT) {
        chip_bulk_out(data, length);
        answer_bulk(id, EP_OUT, usb_redir_success, NULL, wanted);
    } else {
        answer_bulk(id, header->endpoint, usb_redir_stall, NULL, 0);
    }
    usbredirparser_free_packet_data(parser, data);
}

static void on_cancel(void *unused, uint64_t id) {
    (void)unused;
    for (int i = 0; i < waiters; i++) {
        if (waiting[i].id != id) continue;
        answer_bulk(id, EP_IN, usb_redir_cancelled, NULL, 0);
        forget_waiting(i);
        return;
    }
}

/* Control transfers: descriptors (USB 2.0, chapter 9) and registers. */

static int descriptor(uint8_t type, uint8_t *answer) {
    uint8_t product[2] = {0x00, 0xec}, size[2] = {(uint8_t)settings.packet, (uint8_t)(settings.packet >> 8)};
    if (settings.kind == LAN7800) product[1] = 0x78;
    const uint8_t device[] = {18, 1, 0, 2, 255, 0, 1, 64, 0x24, 0x04, product[0], product[1], 0, 2, 0, 0, 0, 1};
    const uint8_t configuration[] = {
        9, 2, 39, 0, 1, 1, 0, 0xe0, 1,      9, 4, 0, 0, 3, 255, 0, 255, 0,
        7, 5, EP_IN, 2, size[0], size[1], 0,    7, 5, EP_OUT, 2, size[0], size[1], 0,    7, 5, EP_INT, 3, 16, 0, 4};
    const uint8_t qualifier[] = {10, 6, 0, 2, 255, 0, 1, 64, 1, 0};
    switch (type) {
    case 1: memcpy(answer, device, sizeof device); return sizeof device;
    case 2: memcpy(answer, configuration, sizeof configuration); return sizeof configuration;
    case 6: memcpy(answer, qualifier, sizeof qualifier); return sizeof qualifier;
    default: return -1;
    }
}

/* The length of the answer, -1 for a request that the chip does not know. */
static int control(const struct usb_redir_control_packet_header *header, const uint8_t *data, int length, uint8_t *answer) {
    if (header->requesttype == 0xc0 && header->request == READ_REGISTER) {
        put32(answer, chip_read(header->index));
        return 4;
    }
    if (header->requesttype == 0xc0 && header->request == READ_STATISTICS) { /* all zero: not modelled */
        memset(answer, 0, MOST_CONTROL);
        return header->length < MOST_CONTROL ? header->length : MOST_CONTROL;
    }
    if (header->requesttype == 0x40 && header->request == WRITE_REGISTER && length >= 4) {
        chip_write(header->index, get32(data));
        return 0;
    }
    if (header->requesttype == 0x80 && header->request == 6) return descriptor((uint8_t)(header->value >> 8), answer);
    if (header->requesttype == 0x80 && header->request == 0) { /* its status: powered by itself */
        answer[0] = 1, answer[1] = 0;
        return 2;
    }
    return header->requesttype <= 0x02 ? 0 : -1; /* set or clear a feature */
}

static void on_control(void *unused, uint64_t id, struct usb_redir_control_packet_header *header, uint8_t *data, int length) {
    (void)unused;
    uint8_t answer[MOST_CONTROL] = {0};
    int have = control(header, data, length, answer);
    bool to_host = have >= 0 && header->endpoint & 0x80;
    usbredirparser_free_packet_data(parser, data);
    header->status = have < 0 ? usb_redir_stall : usb_redir_success;
    if (have < 0) header->length = 0;
    if (to_host) header->length = (uint16_t)smaller(have, header->length);
    usbredirparser_send_control_packet(parser, id, header, to_host ? answer : NULL, to_host ? header->length : 0);
}

/* The rest of usbredir. */

static void on_configuration(void *unused, uint64_t id, struct usb_redir_set_configuration_header *header) {
    (void)unused;
    struct usb_redir_configuration_status_header status = {
        .status = usb_redir_success, .configuration = header->configuration};
    usbredirparser_send_configuration_status(parser, id, &status);
}

static void on_get_configuration(void *unused, uint64_t id) {
    struct usb_redir_set_configuration_header only = {.configuration = 1};
    on_configuration(unused, id, &only);
}

static void on_alternative(void *unused, uint64_t id, struct usb_redir_set_alt_setting_header *header) {
    (void)unused;
    struct usb_redir_alt_setting_status_header status = {
        .status = usb_redir_success, .interface = header->interface, .alt = header->alt};
    usbredirparser_send_alt_setting_status(parser, id, &status);
}

static void set_interrupts(uint64_t id, uint8_t endpoint, bool on) {
    struct usb_redir_interrupt_receiving_status_header status = {.status = usb_redir_success, .endpoint = endpoint};
    usbredirparser_send_interrupt_receiving_status(parser, id, &status);
    interrupts = on;
}

static void on_start_interrupts(void *unused, uint64_t id, struct usb_redir_start_interrupt_receiving_header *header) {
    (void)unused;
    set_interrupts(id, header->endpoint, true);
}

static void on_stop_interrupts(void *unused, uint64_t id, struct usb_redir_stop_interrupt_receiving_header *header) {
    (void)unused;
    set_interrupts(id, header->endpoint, false);
}

static void forget_transfers(void) {
    waiters = 0, interrupts = false, ended_full = false;
}

static void on_reset(void *unused) {
    (void)unused;
    forget_transfers();
    chip_usb_reset();
}

/* QEMU is there: the device is plugged in. In usbredir's tables an endpoint IN is at 16 and its number. */
static void on_hello(void *unused, struct usb_redir_hello_header *hello) {
    (void)unused;
    (void)hello;
    struct usb_redir_ep_info_header endpoints = {0};
    memset(endpoints.type, usb_redir_type_invalid, sizeof endpoints.type);
    endpoints.type[0] = endpoints.type[16] = usb_redir_type_control;
    endpoints.max_packet_size[0] = endpoints.max_packet_size[16] = 64;
    endpoints.type[16 + (EP_IN & 15)] = endpoints.type[EP_OUT] = usb_redir_type_bulk;
    endpoints.max_packet_size[16 + (EP_IN & 15)] = endpoints.max_packet_size[EP_OUT] = (uint16_t)settings.packet;
    endpoints.type[16 + (EP_INT & 15)] = usb_redir_type_interrupt;
    endpoints.max_packet_size[16 + (EP_INT & 15)] = 16;
    endpoints.interval[16 + (EP_INT & 15)] = 4;
    usbredirparser_send_ep_info(parser, &endpoints);
    struct usb_redir_interface_info_header interfaces = {
        .interface_count = 1, .interface_class = {255}, .interface_protocol = {255}};
    usbredirparser_send_interface_info(parser, &interfaces);
    struct usb_redir_device_connect_header device = {
        .speed = settings.packet == 512 ? usb_redir_speed_high : usb_redir_speed_full, .device_class = 255,
        .device_protocol = 1, .vendor_id = 0x0424, .product_id = settings.kind == LAN7800 ? 0x7800 : 0xec00,
        .device_version_bcd = 0x0200};
    usbredirparser_send_device_connect(parser, &device);
}

static void on_log(void *unused, int level, const char *message) {
    (void)unused;
    if (level <= usbredirparser_warning || (settings.verbose && level <= usbredirparser_info)) say("%s", message);
}

/* For the parser: 0 for not now, -1 for an end. */
static int transferred(ssize_t count) {
    return count >= 0 ? (int)count : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static int on_read(void *unused, uint8_t *data, int count) {
    (void)unused;
    ssize_t got = read(host, data, (size_t)count);
    return got == 0 ? -1 : transferred(got);
}

static int on_write(void *unused, uint8_t *data, int count) {
    (void)unused;
    return transferred(write(host, data, (size_t)count));
}

static void make_parser(void) {
    parser = usbredirparser_create();
    if (parser == NULL) fail("usbredirparser_create");
    parser->log_func = on_log, parser->read_func = on_read, parser->write_func = on_write;
    parser->hello_func = on_hello, parser->reset_func = on_reset;
    parser->set_configuration_func = on_configuration, parser->get_configuration_func = on_get_configuration;
    parser->set_alt_setting_func = on_alternative;
    parser->start_interrupt_receiving_func = on_start_interrupts;
    parser->stop_interrupt_receiving_func = on_stop_interrupts;
    parser->cancel_data_packet_func = on_cancel;
    parser->control_packet_func = on_control, parser->bulk_packet_func = on_bulk;
    uint32_t capabilities[USB_REDIR_CAPS_SIZE] = {0};
    usbredirparser_caps_set_cap(capabilities, usb_redir_cap_connect_device_version);
    usbredirparser_caps_set_cap(capabilities, usb_redir_cap_ep_info_max_packet_size);
    usbredirparser_caps_set_cap(capabilities, usb_redir_cap_64bits_ids);
    usbredirparser_caps_set_cap(capabilities, usb_redir_cap_32bits_bulk_length);
    usbredirparser_init(parser, "usb-ethernet", capabilities, USB_REDIR_CAPS_SIZE, usbredirparser_fl_usb_host);
}

static void send_link_interrupt(void) {
    uint8_t word[4];
    put32(word, chip_link_interrupt());
    struct usb_redir_interrupt_packet_header header = {.endpoint = EP_INT, .status = usb_redir_success, .length = sizeof word};
    usbredirparser_send_interrupt_packet(parser, 0, &header, word, sizeof word);
}

/* One machine, until it goes. */
static void serve(void) {
    make_parser();
    forget_transfers();
    chip_power_on(&settings);
    bool told = false; /* Linux has been told of the link that there is */
    while (!is_over) {
        while (usbredirparser_has_data_to_write(parser) && usbredirparser_do_write(parser) >= 0) {}
        /* A frame is taken from the wire when it is asked for. At once only where a transfer waits for it, and where it
         * may be lost: because the FIFO is a real one, or because the chip does not receive. */
        bool watch = settings.real_fifo || waiters > 0 || !chip_can_receive();
        struct pollfd fds[2] = {{host, POLLIN, 0}, {watch ? settings.tap : -1, POLLIN, 0}};
        if (usbredirparser_has_data_to_write(parser)) fds[0].events |= POLLOUT;
        if (poll(fds, 2, interrupts && !told ? 20 : -1) < 0) {
            if (errno != EINTR) fail("poll");
            continue;
        }
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR) &&
            usbredirparser_do_read(parser) == usbredirparser_read_io_error) break;
        if (fds[1].revents & POLLIN) chip_take_frames(FRAMES_A_TURN);
        answer_waiting();
        if (!interrupts || !chip_has_link()) {
            told = false;
        } else if (!told) {
            send_link_interrupt();
            told = true;
        }
    }
    say("%lu frames to the target, %lu from it, %lu lost without room, %lu lost by chance; %lu register accesses, %lu resets",
        chip_counts.received, chip_counts.sent, chip_counts.no_room, chip_counts.lost, chip_counts.registers,
        chip_counts.resets);
    usbredirparser_destroy(parser);
}

/* Start. */

static const char usage[] =
    "usage: usb-ethernet --socket PATH --tap IF [--chip lan9514|lan7800] [--autoneg MS] [--real-fifo] [--loss PERMILLE]\n"
    "                    [--high-speed] [--pidfile FILE] [--verbose]\n"
    "\n"
    "A Raspberry Pi's USB Ethernet chip for QEMU: usbredir on the Unix socket PATH, Ethernet on the tap IF. It serves one\n"
    "machine after the other, until SIGTERM, and says at the end of each what it has counted.\n"
    "  --chip         lan9514, a Pi 3's (the default), or lan7800, a Pi 3+'s\n"
    "  --autoneg MS   how long a negotiation of the link takes; 0 by default, a real one 1000 to 3000\n"
    "  --real-fifo    lose what does not fit the chip's receive FIFO (20 KiB, 12 KiB), as without flow control; by default\n"
    "                 it waits in the tap\n"
    "  --loss N       lose N of 1000 frames to the target\n"
    "  --high-speed   a high-speed device, for QEMU's root port; its hub has full speed only\n"
    "  --pidfile FILE write the process's number there as soon as it listens\n"
    "  --verbose      say every access to a register\n";

static void bad_usage(const char *option, const char *value) {
    fprintf(stderr, "usb-ethernet: error: %s '%s' is not a value for it; see usb-ethernet --help\n", option, value);
    exit(64);
}

static unsigned long number(const char *option, const char *text, unsigned long most) {
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value > most) bad_usage(option, text);
    return value;
}

static int open_tap(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    if (strlen(name) >= sizeof request.ifr_name) bad_usage("--tap", name);
    strcpy(request.ifr_name, name);
    int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) < 0) fail(name);
    return tap;
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) bad_usage("--socket", path);
    strcpy(address.sun_path, path);
    unlink(path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1) < 0) fail(path);
    return listener;
}

int main(int count, char **arguments) {
    const char *path = NULL, *interface = NULL, *pidfile = NULL;
    static const struct option options[] = {
        {"socket", 1, NULL, 's'}, {"tap", 1, NULL, 't'}, {"chip", 1, NULL, 'c'}, {"autoneg", 1, NULL, 'a'},
        {"real-fifo", 0, NULL, 'f'}, {"loss", 1, NULL, 'l'}, {"high-speed", 0, NULL, 'h'}, {"verbose", 0, NULL, 'v'},
        {"pidfile", 1, NULL, 'p'}, {"help", 0, NULL, '?'}, {NULL, 0, NULL, 0}};
    for (int option, index = 0; (option = getopt_long(count, arguments, "", options, &index)) != -1;) {
        switch (option) {
        case 's': path = optarg; break;
        case 't': interface = optarg; break;
        case 'c':
            if (strcmp(optarg, "lan7800") == 0) settings.kind = LAN7800;
            else if (strcmp(optarg, "lan9514") != 0) bad_usage("--chip", optarg);
            break;
        case 'a': settings.autoneg_ms = number("--autoneg", optarg, 60000); break;
        case 'f': settings.real_fifo = true; break;
        case 'l': settings.loss = (unsigned)number("--loss", optarg, 1000); break;
        case 'h': settings.packet = 512; break;
        case 'p': pidfile = optarg; break;
        case 'v': settings.verbose = true; break;
        default:
            if (strcmp(arguments[optind - 1], "--help") == 0) {
                fputs(usage, stdout);
                return 0;
            }
            return 64;
        }
    }
    if (path == NULL || interface == NULL || optind != count) {
        fputs(usage, stderr);
        return 64;
    }
    settings.tap = open_tap(interface);
    int listener = listen_at(path);
    if (pidfile != NULL) {
        FILE *file = fopen(pidfile, "w");
        if (file == NULL || fprintf(file, "%ld\n", (long)getpid()) < 0 || fclose(file) != 0) fail(pidfile);
    }
    struct sigaction action = {.sa_handler = end}; /* without SA_RESTART: it ends a wait */
    sigaction(SIGTERM, &action, NULL);
    while (!is_over) {
        host = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (host < 0 && errno != EINTR) fail("accept");
        if (host < 0) continue;
        serve();
        close(host);
    }
    return 0;
}
