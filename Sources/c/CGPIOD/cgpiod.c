#include "cgpiod.h"

#include <errno.h>
#include <gpiod.h>
#include <stdlib.h>
#include <string.h>

/* Only v1 has bulk requests. */
#if defined(GPIOD_LINE_BULK_MAX_LINES)
#define CGPIOD_V1 1
#else
#define CGPIOD_V1 0
#endif

static void copy_name(char *to, const char *from)
{
    strncpy(to, from ? from : "", CGPIOD_NAME_SIZE - 1);
    to[CGPIOD_NAME_SIZE - 1] = '\0';
}

int cgpiod_api(void)
{
    return CGPIOD_V1 ? 1 : 2;
}

#if CGPIOD_V1

struct cgpiod_chip {
    struct gpiod_chip *chip;
};

struct cgpiod_line {
    struct gpiod_line *line;
};

struct cgpiod_chip *cgpiod_chip_open(const char *path)
{
    struct cgpiod_chip *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->chip = gpiod_chip_open(path);
    if (!self->chip) {
        int code = errno;
        free(self);
        errno = code;
        return NULL;
    }
    return self;
}

void cgpiod_chip_close(struct cgpiod_chip *chip)
{
    gpiod_chip_close(chip->chip);
    free(chip);
}

int cgpiod_chip_get_info(struct cgpiod_chip *chip, struct cgpiod_chip_info *info)
{
    copy_name(info->name, gpiod_chip_name(chip->chip));
    copy_name(info->label, gpiod_chip_label(chip->chip));
    info->lines = gpiod_chip_num_lines(chip->chip);
    return 0;
}

int cgpiod_chip_get_line_info(struct cgpiod_chip *chip, unsigned int offset, struct cgpiod_line_info *info)
{
    struct gpiod_line *line = gpiod_chip_get_line(chip->chip, offset);
    if (!line)
        return -1;
    copy_name(info->name, gpiod_line_name(line));
    copy_name(info->consumer, gpiod_line_consumer(line));
    info->used = gpiod_line_is_used(line);
    info->output = gpiod_line_direction(line) == GPIOD_LINE_DIRECTION_OUTPUT;
    return 0;
}

struct cgpiod_line *cgpiod_line_request(struct cgpiod_chip *chip, unsigned int offset, const char *consumer)
{
    struct cgpiod_line *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->line = gpiod_chip_get_line(chip->chip, offset);
    if (!self->line || gpiod_line_request_input(self->line, consumer) != 0) {
        int code = errno;
        free(self);
        errno = code;
        return NULL;
    }
    return self;
}

int cgpiod_line_assert(struct cgpiod_line *line)
{
    return gpiod_line_set_config(line->line, GPIOD_LINE_REQUEST_DIRECTION_OUTPUT, GPIOD_LINE_REQUEST_FLAG_OPEN_DRAIN, 0);
}

int cgpiod_line_release(struct cgpiod_line *line)
{
    /* Not gpiod_line_set_direction_input: it keeps the open-drain flag, which the kernel refuses for an input. */
    return gpiod_line_set_config(line->line, GPIOD_LINE_REQUEST_DIRECTION_INPUT, 0, 0);
}

void cgpiod_line_close(struct cgpiod_line *line)
{
    gpiod_line_release(line->line);
    free(line);
}

#else

struct cgpiod_chip {
    struct gpiod_chip *chip;
};

struct cgpiod_line {
    struct gpiod_line_request *request;
    unsigned int offset;
};

struct cgpiod_chip *cgpiod_chip_open(const char *path)
{
    struct cgpiod_chip *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->chip = gpiod_chip_open(path);
    if (!self->chip) {
        int code = errno;
        free(self);
        errno = code;
        return NULL;
    }
    return self;
}

void cgpiod_chip_close(struct cgpiod_chip *chip)
{
    gpiod_chip_close(chip->chip);
    free(chip);
}

int cgpiod_chip_get_info(struct cgpiod_chip *chip, struct cgpiod_chip_info *info)
{
    struct gpiod_chip_info *found = gpiod_chip_get_info(chip->chip);
    if (!found)
        return -1;
    copy_name(info->name, gpiod_chip_info_get_name(found));
    copy_name(info->label, gpiod_chip_info_get_label(found));
    info->lines = (unsigned int)gpiod_chip_info_get_num_lines(found);
    gpiod_chip_info_free(found);
    return 0;
}

int cgpiod_chip_get_line_info(struct cgpiod_chip *chip, unsigned int offset, struct cgpiod_line_info *info)
{
    struct gpiod_line_info *found = gpiod_chip_get_line_info(chip->chip, offset);
    if (!found)
        return -1;
    copy_name(info->name, gpiod_line_info_get_name(found));
    copy_name(info->consumer, gpiod_line_info_get_consumer(found));
    info->used = gpiod_line_info_is_used(found);
    info->output = gpiod_line_info_get_direction(found) == GPIOD_LINE_DIRECTION_OUTPUT;
    gpiod_line_info_free(found);
    return 0;
}

/* The configuration for one line: an input, or low and open-drain. NULL with errno set when it fails. */
static struct gpiod_line_config *line_config(unsigned int offset, bool low)
{
    struct gpiod_line_settings *settings = gpiod_line_settings_new();
    struct gpiod_line_config *config = gpiod_line_config_new();
    int result = settings && config ? 0 : -1;

    if (result == 0 && low) {
        result = gpiod_line_settings_set_direction(settings, GPIOD_LINE_DIRECTION_OUTPUT);
        if (result == 0)
            result = gpiod_line_settings_set_drive(settings, GPIOD_LINE_DRIVE_OPEN_DRAIN);
        if (result == 0)
            result = gpiod_line_settings_set_output_value(settings, GPIOD_LINE_VALUE_INACTIVE);
    } else if (result == 0) {
        result = gpiod_line_settings_set_direction(settings, GPIOD_LINE_DIRECTION_INPUT);
    }
    if (result == 0)
        result = gpiod_line_config_add_line_settings(config, &offset, 1, settings);

    int code = errno;
    if (settings)
        gpiod_line_settings_free(settings);
    if (result != 0 && config) {
        gpiod_line_config_free(config);
        config = NULL;
    }
    errno = code;
    return config;
}

struct cgpiod_line *cgpiod_line_request(struct cgpiod_chip *chip, unsigned int offset, const char *consumer)
{
    struct cgpiod_line *self = calloc(1, sizeof(*self));
    struct gpiod_request_config *request = gpiod_request_config_new();
    struct gpiod_line_config *config = line_config(offset, false);

    if (self && request && config) {
        gpiod_request_config_set_consumer(request, consumer);
        self->offset = offset;
        self->request = gpiod_chip_request_lines(chip->chip, request, config);
    }
    int code = errno;
    if (config)
        gpiod_line_config_free(config);
    if (request)
        gpiod_request_config_free(request);
    if (self && !self->request) {
        free(self);
        self = NULL;
    }
    errno = code;
    return self;
}

static int reconfigure(struct cgpiod_line *line, bool low)
{
    struct gpiod_line_config *config = line_config(line->offset, low);
    if (!config)
        return -1;
    int result = gpiod_line_request_reconfigure_lines(line->request, config);
    int code = errno;
    gpiod_line_config_free(config);
    errno = code;
    return result;
}

int cgpiod_line_assert(struct cgpiod_line *line)
{
    return reconfigure(line, true);
}

int cgpiod_line_release(struct cgpiod_line *line)
{
    return reconfigure(line, false);
}

void cgpiod_line_close(struct cgpiod_line *line)
{
    gpiod_line_request_release(line->request);
    free(line);
}

#endif
