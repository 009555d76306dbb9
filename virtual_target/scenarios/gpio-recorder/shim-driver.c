/*
 * Drives one line through the product's libgpiod shim (Sources/c/CGPIOD): test equipment, run by gpio-bench on the
 * Raspberry Pi's pin controller and on the simulated gpiochips.
 *
 *   shim-driver CHIP OFFSET HOLD_MS
 *
 * CHIP is a chip's label. At each step it says 'gpio-bench: step NAME' and waits for a line on stdin (or its end).
 */
#include <cgpiod.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
    fprintf(stderr, "shim-driver: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void step(const char *name)
{
    char line[64];

    printf("gpio-bench: step %s\n", name);
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        clearerr(stdin);
}

static void hold(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        ;
}

/* Opens the chip with that label. */
static struct cgpiod_chip *open_chip(const char *label)
{
    char path[64];

    for (int number = 0; number < 16; number++) {
        struct cgpiod_chip_info info;
        snprintf(path, sizeof(path), "/dev/gpiochip%d", number);
        struct cgpiod_chip *chip = cgpiod_chip_open(path);
        if (!chip)
            continue;
        if (cgpiod_chip_get_info(chip, &info) != 0)
            fail("chip info");
        if (strcmp(info.label, label) == 0)
            return chip;
        cgpiod_chip_close(chip);
    }
    errno = ENODEV;
    fail(label);
    return NULL;
}

static void show(struct cgpiod_chip *chip, unsigned int offset)
{
    struct cgpiod_line_info info;

    if (cgpiod_chip_get_line_info(chip, offset, &info) != 0)
        fail("line info");
    printf("line %u '%s' %s %s '%s'\n", offset, info.name, info.used ? "used" : "free",
           info.output ? "output" : "input", info.consumer);
}

static struct cgpiod_line *request(struct cgpiod_chip *chip, unsigned int offset)
{
    struct cgpiod_line *line = cgpiod_line_request(chip, offset, "shim-driver");

    if (!line)
        fail("request");
    return line;
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fprintf(stderr, "usage: shim-driver CHIP OFFSET HOLD_MS\n");
        return 64;
    }
    struct cgpiod_chip *chip = open_chip(arguments[1]), *other = open_chip(arguments[1]);
    unsigned int offset = (unsigned int)strtoul(arguments[2], NULL, 10);
    long milliseconds = strtol(arguments[3], NULL, 10);
    struct cgpiod_chip_info info;

    if (cgpiod_chip_get_info(chip, &info) != 0)
        fail("chip info");
    printf("libgpiod %d, chip %s, %u lines\n", cgpiod_api(), info.label, info.lines);

    /* A pulse as rpiflash makes it. */
    step("before");
    struct cgpiod_line *line = request(chip, offset);
    step("requested");
    if (cgpiod_line_assert(line) != 0)
        fail("assert");
    hold(milliseconds);
    step("asserted");
    show(chip, offset);
    if (cgpiod_line_request(other, offset, "other"))
        fail("a line was given to two");
    printf("second request: %s\n", strerror(errno));
    if (cgpiod_line_release(line) != 0)
        fail("release");
    step("released");
    cgpiod_line_close(line);
    show(chip, offset);
    step("closed");

    /* One that dies while it holds the line, and the next command. */
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        line = request(chip, offset);
        if (cgpiod_line_assert(line) != 0)
            fail("assert");
        step("asserted-again");
        raise(SIGKILL);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
        fail("child");
    step("killed");
    line = request(chip, offset);
    step("requested-again");
    cgpiod_line_close(line);
    step("closed-again");
    cgpiod_chip_close(other);
    cgpiod_chip_close(chip);
    return 0;
}
