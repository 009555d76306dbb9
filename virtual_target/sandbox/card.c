// The card of a virtual target "sandbox": between U-Boot's driver (drivers/mmc/sandbox_mmc.c with our patch) and the card's
// file, which SANDBOX_CARD names. Sectors are counted and go wrong one by one, as faults.c says.
#define _GNU_SOURCE
#include "faults.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct cached { uint64_t lba; uint8_t bytes[SECTOR]; };
static struct cached *cache;
static uint64_t cached;
static int card = -1;

static bool is_card(int fd) {
    static struct stat wanted;
    static bool asked, known;
    if (!asked) {
        const char *name = getenv("SANDBOX_CARD");
        asked = true;
        known = name && !stat(name, &wanted);
    }
    struct stat is;
    return known && fd > 2 && !fstat(fd, &is) && is.st_dev == wanted.st_dev && is.st_ino == wanted.st_ino;
}

static bool happens(struct sector_fault *list, int count, uint64_t lba) {
    for (struct sector_fault *one = list; one < list + count; one++)
        if (one->lba == lba && one->times) {
            if (one->times != UINT64_MAX) one->times--;
            return true;
        }
    return false;
}

static void store(uint64_t lba, const uint8_t *bytes, size_t from, size_t size) {
    if (pwrite(card, bytes + from, size, (off_t)(lba * SECTOR + from)) != (ssize_t)size) {
        perror("sandbox: the card's file");
        _exit(1);
    }
}

static void evict(void) {
    uint64_t one = draw(cached);
    store(cache[one].lba, cache[one].bytes, 0, SECTOR);
    cache[one] = cache[--cached];
}

static void write_sector(uint64_t lba, const uint8_t *bytes) {
    if (!faults.cache) {
        store(lba, bytes, 0, SECTOR);
        return;
    }
    if (!cache) {
        cache = calloc(faults.cache, sizeof *cache);
        if (!cache) abort();
    }
    for (uint64_t one = 0; one < cached; one++)
        if (cache[one].lba == lba) {
            memcpy(cache[one].bytes, bytes, SECTOR);
            return;
        }
    if (cached == faults.cache) evict();
    cache[cached].lba = lba;
    memcpy(cache[cached++].bytes, bytes, SECTOR);
}

void drop_cache(void) {
    while (cached)
        if (draw(2)) evict();
        else cached--;
}

// One sector that U-Boot has sent to the card.
static void take(uint64_t lba, const uint8_t *bytes) {
    if (faults.cut_write && counters.written == faults.cut_write) {
        if (faults.torn > 0) store(lba, bytes, 0, (size_t)faults.torn);
        if (faults.torn < 0) store(lba, bytes, (size_t)(SECTOR + faults.torn), (size_t)-faults.torn);
        cut_power();
    }
    counters.written++;
    if (happens(faults.lost, faults.lost_count, lba)) return;
    if (faults.forget && counters.written % faults.forget == 0) return;
    if (faults.flip && counters.written % faults.flip == 0) {
        uint8_t wrong[SECTOR];
        memcpy(wrong, bytes, SECTOR);
        wrong[draw(SECTOR)] ^= (uint8_t)(1 << draw(8));
        write_sector(lba, wrong);
    } else {
        write_sector(lba, bytes);
    }
}

static uint64_t current(int fd, off_t *at) {
    card = fd;
    *at = lseek(fd, 0, SEEK_CUR);
    return (uint64_t)*at / SECTOR;
}

ssize_t write(int fd, const void *buffer, size_t size) {
    if (!is_card(fd)) return syscall(SYS_write, fd, buffer, size);
    off_t at;
    uint64_t lba = current(fd, &at);
    const uint8_t *bytes = buffer;
    for (size_t done = 0; done < size; done += SECTOR) take(lba++, bytes + done);
    // Without a torn sector the power goes as soon as the last one is written.
    if (faults.cut_write && counters.written == faults.cut_write && !faults.torn) cut_power();
    note_counters();
    lseek(fd, at + (off_t)size, SEEK_SET);
    return (ssize_t)size;
}

ssize_t read(int fd, void *buffer, size_t size) {
    if (!is_card(fd)) return syscall(SYS_read, fd, buffer, size);
    off_t at;
    uint64_t lba = current(fd, &at), end = lba + size / SECTOR;
    ssize_t got = syscall(SYS_read, fd, buffer, size);
    if (got < 0) return got;
    uint8_t *bytes = buffer;
    for (uint64_t one = 0; one < cached; one++)
        if (cache[one].lba >= lba && cache[one].lba < end)
            memcpy(bytes + (cache[one].lba - lba) * SECTOR, cache[one].bytes, SECTOR);
    for (uint64_t sector = lba; sector < end; sector++)
        if (happens(faults.misread, faults.misread_count, sector)) bytes[(sector - lba) * SECTOR] ^= 1;
    counters.read += size / SECTOR;
    if (faults.cut_read && counters.read >= faults.cut_read) cut_power();
    note_counters();
    return got;
}

// U-Boot's reset starts its program anew. The card keeps its power, and so its cache, which therefore goes to the file.
int execv(const char *path, char *const arguments[]) {
    extern char **environ;
    while (cached) evict();
    return (int)syscall(SYS_execve, path, arguments, environ);
}
