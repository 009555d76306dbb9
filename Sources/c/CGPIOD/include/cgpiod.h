/* One interface to libgpiod v1 (Debian 12) and v2 (Debian 13, current Raspberry Pi OS); chosen when it is compiled.
 *
 * A reset line is open-drain: it is only ever driven low, or an input. Functions return 0, or -1 with errno set. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define CGPIOD_NAME_SIZE 64

struct cgpiod_chip;
struct cgpiod_line;

struct cgpiod_chip_info {
    char name[CGPIOD_NAME_SIZE];
    char label[CGPIOD_NAME_SIZE];
    unsigned int lines;
};

struct cgpiod_line_info {
    char name[CGPIOD_NAME_SIZE];
    char consumer[CGPIOD_NAME_SIZE];
    bool used;
    bool output;
};

/* 1 or 2: the API that the shim was compiled against. */
int cgpiod_api(void);

/* NULL with errno set when it fails. */
struct cgpiod_chip *cgpiod_chip_open(const char *path);
void cgpiod_chip_close(struct cgpiod_chip *chip);
int cgpiod_chip_get_info(struct cgpiod_chip *chip, struct cgpiod_chip_info *info);
int cgpiod_chip_get_line_info(struct cgpiod_chip *chip, unsigned int offset, struct cgpiod_line_info *info);

/* Takes a line as an input. NULL with errno set when it fails: EBUSY when someone else has it. */
struct cgpiod_line *cgpiod_line_request(struct cgpiod_chip *chip, unsigned int offset, const char *consumer);
/* Drives the line low, open-drain. */
int cgpiod_line_assert(struct cgpiod_line *line);
/* Makes the line an input again. */
int cgpiod_line_release(struct cgpiod_line *line);
/* Gives the line back. Raspberry Pi kernels keep an output driven after this: release first. */
void cgpiod_line_close(struct cgpiod_line *line);
