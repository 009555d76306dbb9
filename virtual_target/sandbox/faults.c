// The faults of a virtual target "sandbox", from the environment: SANDBOX_FAULTS="NAME=VALUE,...", all by number, so that a
// run can be repeated exactly.
//
//   cut-write=N    the power goes when N sectors are written
//   torn=BYTES     with cut-write: and BYTES of the next one; -BYTES: its last ones
//   cut-read=N     the power goes when N sectors are read
//   cut-packet=N   the power goes when N packets are received or sent
//   lost=LBA       writes to this sector are acknowledged and forgotten; LBA*N: the first N of them
//   misread=LBA    reads of this sector have a wrong bit; LBA*N: the first N of them
//   forget=N       every Nth sector that is written is acknowledged and forgotten
//   flip=N         every Nth sector that is written gets a wrong bit, where depends on the seed
//   cache=N        the card keeps up to N sectors in volatile memory, writes them in any order, and at the end of its power
//                  has written some of them (cut-write, cut-read, cut-packet) or none of them (the process was killed)
//   seed=N         for what is left to chance
//
// SANDBOX_COUNTERS names a file: sectors written, sectors read and packets since the power came on. U-Boot's own reset is
// no new power-on for the card, but counts from 0 again.
#define _GNU_SOURCE
#include "faults.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct faults faults;
struct counters counters;
static uint64_t state = 1;
static char *counters_page;

__attribute__((noreturn, format(printf, 1, 2))) static void refuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("sandbox: error: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

// xorshift64*
uint64_t draw(uint64_t limit) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545F4914F6CDD1DULL >> 11) % limit;
}

static int64_t number(const char *name, const char *text, char **end, int64_t least, int64_t most) {
    errno = 0;
    int64_t value = strtoll(text, end, 10);
    if (*end == text || errno || value < least || value > most)
        refuse("SANDBOX_FAULTS: %s=%s is not a whole number from %lld to %lld", name, text, (long long)least, (long long)most);
    return value;
}

static void add_sector(const char *name, const char *text, char **end, struct sector_fault *list, int *count) {
    if (*count == MAX_LOST) refuse("SANDBOX_FAULTS: more than %d sectors with %s=", MAX_LOST, name);
    struct sector_fault fault = {.lba = (uint64_t)number(name, text, end, 0, INT64_MAX), .times = UINT64_MAX};
    if (**end == '*') fault.times = (uint64_t)number(name, *end + 1, end, 1, INT64_MAX);
    list[(*count)++] = fault;
}

static void read_faults(char *text) {
    for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
        char *value = strchr(word, '='), *end;
        if (!value) refuse("SANDBOX_FAULTS: '%s' is not NAME=VALUE", word);
        *value++ = 0;
        const char *name = word;
        uint64_t *count = !strcmp(name, "cut-write") ? &faults.cut_write : !strcmp(name, "cut-read") ? &faults.cut_read
            : !strcmp(name, "cut-packet") ? &faults.cut_packet : !strcmp(name, "forget") ? &faults.forget
            : !strcmp(name, "flip") ? &faults.flip : !strcmp(name, "cache") ? &faults.cache : NULL;
        if (count) *count = (uint64_t)number(name, value, &end, 1, INT64_MAX);
        else if (!strcmp(name, "torn")) faults.torn = (int)number(name, value, &end, 1 - SECTOR, SECTOR - 1);
        else if (!strcmp(name, "lost")) add_sector(name, value, &end, faults.lost, &faults.lost_count);
        else if (!strcmp(name, "misread")) add_sector(name, value, &end, faults.misread, &faults.misread_count);
        else if (!strcmp(name, "seed")) state = (uint64_t)number(name, value, &end, 0, INT64_MAX) * 2 + 1;
        else refuse("SANDBOX_FAULTS: unknown fault '%s'", name);
        if (*end) refuse("SANDBOX_FAULTS: '%s' behind the value of %s", end, name);
    }
    if (faults.torn && !faults.cut_write) refuse("SANDBOX_FAULTS: torn= needs cut-write=");
}

__attribute__((constructor)) static void start(void) {
    const char *text = getenv("SANDBOX_FAULTS"), *file = getenv("SANDBOX_COUNTERS");
    if (text) read_faults(strdup(text));
    for (int turn = 0; turn < 8; turn++) draw(2);
    if (file) {
        int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0 || ftruncate(fd, 80)) refuse("SANDBOX_COUNTERS: %s: %s", file, strerror(errno));
        counters_page = mmap(NULL, 80, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (counters_page == MAP_FAILED) refuse("SANDBOX_COUNTERS: %s: %s", file, strerror(errno));
        close(fd);
        note_counters();
    }
}

void note_counters(void) {
    if (!counters_page) return;
    char text[81];
    snprintf(text, sizeof text, "written %-17llu\nread %-20llu\npackets %-17llu\n", (unsigned long long)counters.written,
             (unsigned long long)counters.read, (unsigned long long)counters.packets);
    memcpy(counters_page, text, 79);
}

void cut_power(void) {
    drop_cache();
    note_counters();
    kill(getpid(), SIGKILL);
    for (;;) pause();
}
