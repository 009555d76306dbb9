// What the preloaded library of the virtual target "sandbox" can let go wrong. faults.c has the list.
#ifndef FAULTS_H
#define FAULTS_H
#include <stdbool.h>
#include <stdint.h>

#define SECTOR 512
#define MAX_LOST 8

struct sector_fault {
    uint64_t lba;
    uint64_t times;  // how often it is still to happen
};

struct faults {
    uint64_t cut_write, cut_read, cut_packet;  // the power goes behind this one, counted from 1; 0: never
    int torn;                                  // bytes of the next sector that cut_write leaves; below 0: its last ones
    uint64_t forget, flip;                     // every Nth sector written; 0: none
    uint64_t cache;                            // sectors that the card keeps in volatile memory; 0: none
    struct sector_fault lost[MAX_LOST], misread[MAX_LOST];
    int lost_count, misread_count;
};

extern struct faults faults;

// What has happened since the power came on; in the file that SANDBOX_COUNTERS names.
struct counters { uint64_t written, read, packets; };
extern struct counters counters;

// Writes the counters to their file.
void note_counters(void);
// A number below limit, by the seed.
uint64_t draw(uint64_t limit);
// Ends the process as a power cut does: nothing is flushed.
__attribute__((noreturn)) void cut_power(void);
// The card loses its power with the rest; what of its cache has been written is a matter of chance.
void drop_cache(void);

#endif
