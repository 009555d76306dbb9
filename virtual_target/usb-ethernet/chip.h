/* The USB Ethernet chip of a Raspberry Pi 3 or 3+, as its drivers see it. chip.c has what is modelled, and what is not. */
#ifndef CHIP_H
#define CHIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chip_kind { LAN9514, LAN7800 };

struct chip_settings {
    enum chip_kind kind;
    uint64_t autoneg_ms;  /* from a PHY's reset to its link */
    bool real_fifo;       /* what does not fit the receive FIFO is lost; else it waits outside */
    unsigned loss;        /* of 1000 frames to the target, so many are lost */
    unsigned packet;      /* bytes of a packet of the bulk endpoints: 64 at full speed, 512 at high speed */
    int tap;              /* the wire: frames are read from and written to it, without blocking */
    bool verbose;
};

/* What happened since chip_power_on. */
struct chip_counts {
    unsigned long received, sent, no_room, lost, unsupported, registers, resets;
};

extern struct chip_counts chip_counts;

void chip_power_on(const struct chip_settings *settings);
void chip_usb_reset(void);
uint32_t chip_read(unsigned index);
void chip_write(unsigned index, uint32_t value);

bool chip_has_link(void);
/* Does the chip watch its wire just now? While it does not, what comes in is gone. */
bool chip_can_receive(void);
/* Is a bulk IN for which there is no frame refused (NAK) until there is one? Else it is answered with nothing. */
bool chip_waits_for_frames(void);
bool chip_has_frames(void);
/* Takes frames from the wire into the FIFO, at most so many; drops them while it does not receive. */
void chip_take_frames(int limit);
/* The answer to a bulk IN of that length: its bytes, 0 without a frame. */
int chip_bulk_in(uint8_t *answer, int length);
/* What a bulk OUT brought. */
void chip_bulk_out(const uint8_t *data, int length);
/* The link has come up: the word that the interrupt endpoint sends. */
uint32_t chip_link_interrupt(void);

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void put32(uint8_t *bytes, uint32_t value);
uint32_t get32(const uint8_t *bytes);

#endif
