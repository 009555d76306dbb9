/* SMSC LAN9514's Ethernet (0424:ec00, Pi 3) and Microchip LAN7800 (0424:7800, Pi 3+).
 *
 * Modelled is what the drivers of U-Boot (smsc95xx.c, lan78xx.c, lan7x.c) and of Linux (smsc95xx, lan78xx, and their PHY
 * drivers smsc and microchip) use; names and numbers of registers are theirs. Like a Pi's chip it has no EEPROM and no
 * OTP, loses its registers and all frames that it holds at a reset, has no link until it has negotiated, and sends no
 * pause frames (U-Boot's smsc95xx leaves flow control off).
 *
 * Not modelled: timing of the wire (it is as fast as the tap), multicast and VLAN filters, wake-up, statistics (zero), the
 * LAN7800's segmentation of large TCP sends (such a frame is dropped, counted and told), its receive checksum (the chip
 * says of each frame that it has none, which Linux takes). */
#define _GNU_SOURCE
#include "chip.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAME = 1514, FCS = 4, CHECKSUM = 2, SHORTEST_FRAME = 60, MOST_FRAMES = 512, HEADER = 14,
    REGISTERS = 0x1100,
    /* Data sheet of the LAN9514; MAX_RX_FIFO_SIZE, to which both drivers of the LAN7800 set it. */
    FIFO_9514 = 20 * 1024, FIFO_7800 = 12 * 1024,
    PHY_ADDRESS = 1
};

/* Registers of the LAN9514: index, and bits. */
enum {
    ID_REV = 0x00, INT_STS = 0x08, TX_CFG = 0x10, HW_CFG = 0x14, RX_FIFO_INF = 0x18, PM_CTRL = 0x20, E2P_CMD = 0x30,
    BURST_CAP = 0x38, MAC_CR = 0x100, ADDRH = 0x104, ADDRL = 0x108, MII_ADDR = 0x114, MII_DATA = 0x118, COE_CR = 0x130
};
enum {
    TX_CFG_ON = 0x04,
    HW_CFG_SRST = 0x01, HW_CFG_LRST = 0x08, HW_CFG_MEF = 0x20, HW_CFG_RXDOFF = 0x600, HW_CFG_BIR = 0x1000,
    PM_CTRL_PHY_RST = 0x10,
    MAC_CR_RXEN = 0x04, MAC_CR_TXEN = 0x08, MAC_CR_HPFILT = 0x2000, MAC_CR_PRMS = 0x40000, MAC_CR_MCPAS = 0x80000,
    COE_CR_RX = 0x01,
    TX_CMD_B_CHECKSUM = 0x4000, RX_STS_MULTICAST = 0x400
};
/* Registers of the LAN7800. */
enum {
    L_ID_REV = 0x00, L_INT_STS = 0x0c, L_HW_CFG = 0x10, L_PMT_CTL = 0x14, L_DP_SEL = 0x24, L_E2P_CMD = 0x40, L_USB_CFG0 = 0x80,
    L_RFE_CTL = 0xb0, L_FCT_RX_CTL = 0xc0, L_FCT_TX_CTL = 0xc4, L_MAC_CR = 0x100, L_MAC_RX = 0x104, L_MAC_TX = 0x108,
    L_RX_ADDRH = 0x118, L_RX_ADDRL = 0x11c, L_MII_ACC = 0x120, L_MII_DATA = 0x124, L_OTP_CMD_GO = 0x1028, L_OTP_STATUS = 0x1030
};
enum {
    L_HW_CFG_RST = 0x03, L_PMT_PHY_RST = 0x10, L_PMT_READY = 0x80, L_USB_CFG_BIR = 0x40, L_MAC_CR_RST = 0x01,
    L_RFE_UCAST = 0x100, L_RFE_MCAST = 0x200, L_MAC_RX_RXEN = 0x01, L_MAC_RX_FCS_STRIP = 0x10, L_MAC_TX_TXEN = 0x01,
    L_TX_CMD_A_LENGTH = 0xfffff, L_TX_CMD_A_TPE = 0x02000000, L_TX_CMD_A_LSO = 0x08000000, L_RX_CMD_A_NO_CHECKSUM = 0x4000
};
enum { BUSY = 0x80000000, EEPROM_TIMEOUT = 0x400, MII_BUSY = 0x01, MII_WRITE = 0x02 };
/* Registers of both PHYs, IEEE 802.3 clause 22; then those of one. */
enum { BMCR = 0, BMSR = 1, PHYSID1 = 2, PHYSID2 = 3, ADVERTISE = 4, LPA = 5, EXPANSION = 6, STAT1000 = 10, ESTATUS = 15 };
enum { BMCR_RESET = 0x8000, BMCR_ANENABLE = 0x1000, BMCR_ANRESTART = 0x0200, BMSR_LINK_AND_DONE = 0x0024 };
enum { PHY_INT_SOURCE = 29, PHY_SPECIAL = 31, PHY_INT_ENERGY = 0x40, L_PHY_INT_STS = 26, L_PHY_INT_LINK = 0x2000 };

struct chip_counts chip_counts;

static struct chip_settings set;
static uint32_t reg[REGISTERS / 4];
static uint16_t phy[32];
static uint64_t link_at; /* ms; when negotiation is done */
/* The receive FIFO: frames with their FCS, and the checksum behind that if it is on. */
static struct frame { int length; uint8_t bytes[FRAME + FCS + CHECKSUM]; } fifo[MOST_FRAMES];
static unsigned head, tail;
static size_t fifo_used, fifo_size;
static uint8_t sending[65536]; /* what bulk OUTs brought of a transfer so far */
static int sending_length;
static uint32_t dice;

static bool is_7800(void) { return set.kind == LAN7800; }

static uint64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

uint32_t get32(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

void put32(uint8_t *bytes, uint32_t value) {
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> 8 * i);
}

/* The PHY. */

static void phy_reset(void) {
    memset(phy, 0, sizeof phy);
    phy[BMCR] = BMCR_ANENABLE;
    phy[BMSR] = is_7800() ? 0x7909 : 0x7809;
    phy[PHYSID1] = 0x0007, phy[PHYSID2] = is_7800() ? 0xc132 : 0xc0f1;
    phy[ADVERTISE] = 0x01e1;
    if (is_7800()) phy[ESTATUS] = 0x3000;
    link_at = now_ms() + set.autoneg_ms;
}

bool chip_has_link(void) { return now_ms() >= link_at; }

static uint16_t phy_read(unsigned index) {
    bool up = chip_has_link();
    uint16_t value = phy[index];
    switch (index) {
    case BMSR: return up ? value | BMSR_LINK_AND_DONE : value;
    case LPA: return up ? 0xcde1 : value;
    case EXPANSION: return up ? 1 : 0;
    case STAT1000: return is_7800() && up ? 0x7800 : value;
    case PHY_SPECIAL: return is_7800() ? value : up ? 0x1058 : 0x0040;
    case PHY_INT_SOURCE: if (!is_7800()) phy[index] = 0; return value;
    case L_PHY_INT_STS: if (is_7800()) phy[index] = 0; return value;
    default: return value;
    }
}

static void phy_write(unsigned index, uint16_t value) {
    if (index == BMSR || index == PHYSID1 || index == PHYSID2) return;
    if (index == BMCR && value & BMCR_RESET) {
        phy_reset();
        return;
    }
    if (index == BMCR && value & BMCR_ANRESTART) {
        value &= (uint16_t)~BMCR_ANRESTART;
        link_at = now_ms() + set.autoneg_ms;
    }
    phy[index] = value;
}

static void mii(uint32_t access, uint32_t *data) {
    unsigned address = access >> 11 & 31, index = access >> 6 & 31;
    if (access & MII_WRITE) {
        if (address == PHY_ADDRESS) phy_write(index, (uint16_t)*data);
    } else {
        *data = address == PHY_ADDRESS ? phy_read(index) : 0xffff;
    }
}

/* Registers. */

static void drop_wire(void) {
    uint8_t frame[2048];
    while (read(set.tap, frame, sizeof frame) > 0) {}
}

static void reset_chip(void) {
    chip_counts.resets++;
    memset(reg, 0, sizeof reg);
    if (is_7800()) {
        reg[L_ID_REV / 4] = 0x78000002;
        reg[L_DP_SEL / 4] = BUSY; /* the data port: here the bit says that it is ready */
        reg[L_RX_ADDRH / 4] = 0xffff, reg[L_RX_ADDRL / 4] = 0xffffffff;
    } else {
        reg[ID_REV / 4] = 0xec000002;
        reg[ADDRH / 4] = 0xffff, reg[ADDRL / 4] = 0xffffffff;
    }
    head = tail = 0, fifo_used = 0, sending_length = 0;
    drop_wire();
}

void chip_power_on(const struct chip_settings *settings) {
    set = *settings;
    memset(&chip_counts, 0, sizeof chip_counts);
    fifo_size = is_7800() ? FIFO_7800 : FIFO_9514;
    dice = 1; /* the same frames are lost in every run, as far as the same come */
    reset_chip();
    phy_reset();
}

void chip_usb_reset(void) {
    reset_chip();
    phy_reset();
}

uint32_t chip_read(unsigned index) {
    chip_counts.registers++;
    uint32_t value = index >= REGISTERS ? 0 : !is_7800() && index == RX_FIFO_INF ? (uint32_t)fifo_used : reg[index / 4];
    if (set.verbose) say("register 0x%03x is 0x%08x", index, value);
    return value;
}

static void write_9514(unsigned index, uint32_t value) {
    uint32_t *own = &reg[index / 4];
    switch (index) {
    case ID_REV: break;
    case INT_STS: *own &= ~value; break;
    case TX_CFG: *own = value & TX_CFG_ON; break;
    case HW_CFG:
        if (value & (HW_CFG_LRST | HW_CFG_SRST)) reset_chip();
        else *own = value;
        break;
    case PM_CTRL:
        if (value & PM_CTRL_PHY_RST) phy_reset();
        *own = value & ~(uint32_t)PM_CTRL_PHY_RST;
        break;
    case E2P_CMD: *own = (value & ~BUSY) | EEPROM_TIMEOUT; break;
    case MII_ADDR:
        mii(value, &reg[MII_DATA / 4]);
        *own = value & ~(uint32_t)MII_BUSY;
        break;
    default: *own = value;
    }
}

static void write_7800(unsigned index, uint32_t value) {
    uint32_t *own = &reg[index / 4];
    switch (index) {
    case L_ID_REV: case L_OTP_CMD_GO: case L_OTP_STATUS: break;
    case L_INT_STS: *own &= ~value; break;
    case L_HW_CFG:
        if (value & L_HW_CFG_RST) reset_chip();
        else *own = value;
        break;
    case L_PMT_CTL:
        if (value & L_PMT_PHY_RST) phy_reset();
        *own = (value & ~(uint32_t)L_PMT_PHY_RST) | L_PMT_READY;
        break;
    case L_DP_SEL: *own = value | BUSY; break;
    case L_E2P_CMD: *own = (value & ~BUSY) | EEPROM_TIMEOUT; break;
    case L_MAC_CR: *own = value & ~(uint32_t)L_MAC_CR_RST; break;
    case L_MII_ACC:
        mii(value, &reg[L_MII_DATA / 4]);
        *own = value & ~(uint32_t)MII_BUSY;
        break;
    default: *own = value;
    }
}

void chip_write(unsigned index, uint32_t value) {
    chip_counts.registers++;
    if (set.verbose) say("register 0x%03x = 0x%08x", index, value);
    if (index >= REGISTERS) return;
    if (is_7800()) write_7800(index, value);
    else write_9514(index, value);
}

bool chip_can_receive(void) {
    return is_7800() ? reg[L_MAC_RX / 4] & L_MAC_RX_RXEN && reg[L_FCT_RX_CTL / 4] & BUSY : reg[MAC_CR / 4] & MAC_CR_RXEN;
}

static bool can_send(void) {
    return is_7800() ? reg[L_MAC_TX / 4] & L_MAC_TX_TXEN && reg[L_FCT_TX_CTL / 4] & BUSY
                     : reg[MAC_CR / 4] & MAC_CR_TXEN && reg[TX_CFG / 4] & TX_CFG_ON;
}

bool chip_waits_for_frames(void) {
    return is_7800() ? reg[L_USB_CFG0 / 4] & L_USB_CFG_BIR : reg[HW_CFG / 4] & HW_CFG_BIR;
}

uint32_t chip_link_interrupt(void) {
    if (is_7800()) {
        phy[L_PHY_INT_STS] |= L_PHY_INT_LINK;
        return 1u << 17; /* INT_ENP_PHY_INT */
    }
    phy[PHY_INT_SOURCE] |= PHY_INT_ENERGY;
    return 1u << 15; /* INT_ENP_PHY_INT_ */
}

/* From the wire. */

/* Ones' complement sum of 16-bit words as they are on the wire (RFC 1071). */
static uint32_t add16(uint32_t sum, const uint8_t *bytes, int length) {
    for (int i = 0; i + 1 < length; i += 2) sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    if (length & 1) sum += (uint32_t)bytes[length - 1] << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* The frame check sequence of IEEE 802.3. */
static uint32_t crc32_of(const uint8_t *bytes, int length) {
    static uint32_t table[256];
    if (table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            table[i] = i;
            for (int bit = 0; bit < 8; bit++) table[i] = table[i] & 1 ? 0xedb88320 ^ table[i] >> 1 : table[i] >> 1;
        }
    }
    uint32_t crc = ~0u;
    for (int i = 0; i < length; i++) crc = table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
    return ~crc;
}

static bool is_for_us(const uint8_t *frame) {
    bool everything = is_7800() ? reg[L_RFE_CTL / 4] & L_RFE_UCAST : reg[MAC_CR / 4] & MAC_CR_PRMS;
    bool groups = is_7800() ? reg[L_RFE_CTL / 4] & L_RFE_MCAST : reg[MAC_CR / 4] & (MAC_CR_MCPAS | MAC_CR_HPFILT);
    if (everything || memcmp(frame, "\xff\xff\xff\xff\xff\xff", 6) == 0) return true;
    if (frame[0] & 1) return groups;
    uint8_t own[8];
    put32(own, reg[(is_7800() ? L_RX_ADDRL : ADDRL) / 4]);
    put32(own + 4, reg[(is_7800() ? L_RX_ADDRH : ADDRH) / 4]);
    return memcmp(frame, own, 6) == 0;
}

static bool is_lost(void) {
    dice = dice * 1664525 + 1013904223; /* Numerical Recipes' generator; its high bits are good enough for this */
    return (dice >> 16) % 1000 < set.loss;
}

bool chip_has_frames(void) { return head != tail; }

static bool has_room(size_t bytes) { return fifo_used + bytes <= fifo_size && head - tail < MOST_FRAMES; }

/* One frame from the wire; false if there is none, or no room and nothing may be lost. */
static bool take_frame(void) {
    if (!set.real_fifo && !has_room(FRAME + FCS + CHECKSUM)) return false;
    uint8_t bytes[FRAME];
    ssize_t got = read(set.tap, bytes, sizeof bytes);
    if (got <= 0) return false;
    int length = (int)got;
    if (length < HEADER || !chip_has_link() || !is_for_us(bytes)) return true;
    if (is_lost()) {
        chip_counts.lost++;
        return true;
    }
    if (length < SHORTEST_FRAME) {
        memset(bytes + length, 0, (size_t)(SHORTEST_FRAME - length));
        length = SHORTEST_FRAME;
    }
    bool checksum = !is_7800() && reg[COE_CR / 4] & COE_CR_RX;
    if (!has_room((size_t)length + FCS + (checksum ? CHECKSUM : 0))) {
        chip_counts.no_room++;
        return true;
    }
    struct frame *frame = &fifo[head++ % MOST_FRAMES];
    memcpy(frame->bytes, bytes, (size_t)length);
    put32(frame->bytes + length, crc32_of(bytes, length));
    frame->length = length + FCS;
    if (checksum) { /* of all between the Ethernet header and the FCS; it stands behind that */
        uint32_t sum = add16(0, bytes + HEADER, length - HEADER);
        frame->bytes[frame->length] = (uint8_t)(sum >> 8), frame->bytes[frame->length + 1] = (uint8_t)sum;
        frame->length += CHECKSUM;
    }
    fifo_used += (size_t)frame->length;
    chip_counts.received++;
    return true;
}

void chip_take_frames(int limit) {
    if (!chip_can_receive()) drop_wire();
    else while (limit-- > 0 && take_frame()) {}
}

static struct frame *first_frame(void) { return &fifo[tail % MOST_FRAMES]; }

static void drop_first_frame(void) {
    fifo_used -= (size_t)first_frame()->length;
    tail++;
}

/* One frame a time, behind three command words of 10 bytes. */
static int bulk_in_7800(uint8_t *answer, int length) {
    struct frame *frame = first_frame();
    int size = frame->length - (reg[L_MAC_RX / 4] & L_MAC_RX_FCS_STRIP ? FCS : 0);
    if (10 + size > length) return 0;
    memset(answer, 0, 10);
    put32(answer, (uint32_t)size | L_RX_CMD_A_NO_CHECKSUM);
    memcpy(answer + 10, frame->bytes, (size_t)size);
    drop_first_frame();
    return 10 + size;
}

/* As many whole frames as fit the transfer and the burst, each at 4 bytes and behind a status word. */
static int bulk_in_9514(uint8_t *answer, int length) {
    int filled = 0, offset = (int)(reg[HW_CFG / 4] & HW_CFG_RXDOFF) >> 9;
    uint32_t burst = reg[BURST_CAP / 4] & 0xff;
    if (burst > 0 && (int)(burst * set.packet) < length) length = (int)(burst * set.packet);
    while (chip_has_frames()) {
        struct frame *frame = first_frame();
        int begin = (filled + 3) & ~3, end = begin + 4 + offset + frame->length;
        if (end > length) break;
        memset(answer + filled, 0, (size_t)(begin + 4 + offset - filled));
        put32(answer + begin, (uint32_t)frame->length << 16 | (frame->bytes[0] & 1 ? RX_STS_MULTICAST : 0));
        memcpy(answer + begin + 4 + offset, frame->bytes, (size_t)frame->length);
        filled = end;
        drop_first_frame();
        if (!(reg[HW_CFG / 4] & HW_CFG_MEF)) break;
    }
    return filled;
}

int chip_bulk_in(uint8_t *answer, int length) {
    if (!chip_has_frames()) return 0;
    return is_7800() ? bulk_in_7800(answer, length) : bulk_in_9514(answer, length);
}

/* To the wire. */

static void put_checksum(uint8_t *at, uint32_t sum) {
    sum = ~sum & 0xffff;
    at[0] = (uint8_t)(sum >> 8), at[1] = (uint8_t)sum;
}

/* The LAN7800's checksums of IPv4 with TCP or UDP. */
static void put_checksums_7800(uint8_t *frame, int bytes) {
    if (bytes < HEADER + 20 || frame[12] != 0x08 || frame[13] != 0x00) return;
    uint8_t *ip = frame + HEADER;
    int header = (ip[0] & 15) * 4, length = ip[2] << 8 | ip[3], body = length - header;
    int where = ip[9] == 6 ? 16 : ip[9] == 17 ? 6 : -1;
    if (header < 20 || HEADER + length > bytes) return;
    ip[10] = ip[11] = 0;
    put_checksum(ip + 10, add16(0, ip, header));
    if (where < 0 || body < where + 2) return;
    uint8_t *at = ip + header + where;
    at[0] = at[1] = 0;
    put_checksum(at, add16(add16((uint32_t)(ip[9] + body), ip + 12, 8), ip + header, body));
}

/* The LAN9514's: the frame follows a word that says where the sum begins, and where it goes. */
static void put_checksum_9514(const uint8_t *word, uint8_t *frame, int bytes) {
    int begin = word[0] | word[1] << 8, where = word[2] | word[3] << 8;
    if (begin <= bytes && where + 2 <= bytes) put_checksum(frame + where, add16(0, frame + begin, bytes - begin));
}

static void send_frame(uint8_t *frame, int bytes) {
    if (can_send() && chip_has_link() && write(set.tap, frame, (size_t)bytes) == bytes) chip_counts.sent++;
}

/* One frame of what was brought, behind its two command words; the bytes that it took, 0 if there is not all of it. */
static int send_first(uint8_t *data, int length) {
    if (length < 8) return 0;
    uint32_t a = get32(data), b = get32(data + 4);
    int bytes = (int)(a & (is_7800() ? L_TX_CMD_A_LENGTH : 0x7ff)), lead = is_7800() ? 0 : (int)(a >> 16 & 3);
    if (length < 8 + lead + bytes) return 0;
    uint8_t *frame = data + 8 + lead;
    if (is_7800() && a & L_TX_CMD_A_LSO) {
        if (chip_counts.unsupported++ == 0) say("a TCP segment to be split was dropped: that is not modelled");
    } else if (is_7800()) {
        if (a & L_TX_CMD_A_TPE) put_checksums_7800(frame, bytes);
        send_frame(frame, bytes);
    } else if (b & TX_CMD_B_CHECKSUM && bytes > 4) {
        put_checksum_9514(frame, frame + 4, bytes - 4);
        send_frame(frame + 4, bytes - 4);
    } else {
        send_frame(frame, bytes);
    }
    int step = (8 + lead + bytes + 3) & ~3;
    return step < length ? step : length;
}

/* QEMU's controller brings small transfers packet by packet; a short packet ends one. */
void chip_bulk_out(const uint8_t *data, int length) {
    if (length > (int)sizeof sending - sending_length) sending_length = 0;
    if (length > (int)sizeof sending) return;
    memcpy(sending + sending_length, data, (size_t)length);
    sending_length += length;
    int at = 0;
    for (int step; (step = send_first(sending + at, sending_length - at)) > 0;) at += step;
    sending_length = (unsigned)length % set.packet != 0 ? 0 : sending_length - at;
    memmove(sending, sending + at, (size_t)sending_length);
}
