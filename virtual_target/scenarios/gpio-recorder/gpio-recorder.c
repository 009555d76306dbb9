// SPDX-License-Identifier: MIT OR GPL-2.0-or-later
/*
 * Simulated gpiochips that record every change of every line, with its time: test equipment of gpio-bench, never part
 * of the product. The file is rpiflash's own; it may also be used under the MIT licence or the GPL, as the kernel only
 * lends its gpiochip functions to modules that say so.
 *
 * A line behaves like a Raspberry Pi's: an input with a pull-up at first; open drain is left to gpiolib, which makes
 * the line an input to let it go; and a line that was driven stays driven when its user releases it or dies.
 *
 *   insmod gpio-recorder.ko chips=LABEL:LINES:PREFIX,...
 *     Chips in the order of their numbers, with lines named PREFIX0, PREFIX1, ...; no names without a PREFIX.
 *   cat /proc/gpio-record
 *     What happened, one line each:
 *     TIME LABEL:OFFSET EVENT LEVEL   TIME: ns of CLOCK_MONOTONIC. EVENT: request or free (by a user of the line), in
 *                                     or out (the direction was set; for out also the value alone). LEVEL: what the
 *                                     wire then has, 0 or 1
 *     TIME mark TEXT                  TEXT was written to /proc/gpio-record
 *     lost N                          the record is full, N more events are not in it
 */
#include <linux/gpio/driver.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define MAX_CHIPS 8
#define MAX_EVENTS 16384
#define MARK_LENGTH 64

static char *chips[MAX_CHIPS];
static unsigned int chip_count;
module_param_array(chips, charp, &chip_count, 0444);
MODULE_PARM_DESC(chips, "LABEL:LINES:PREFIX for each chip, in the order of their numbers");

struct sim_line {
	bool output;
	bool latch;
};

struct sim_chip {
	struct gpio_chip gpio;
	struct sim_line *lines;
};

struct event {
	u64 time;
	const struct sim_chip *chip; /* NULL: a mark */
	unsigned int offset;
	bool level;
	char what[MARK_LENGTH]; /* the event, or the mark's text */
};

static struct sim_chip sims[MAX_CHIPS];
static struct event *events;
static unsigned int event_count, lost_count;
static DEFINE_SPINLOCK(lock); /* for the lines and the record */

static bool wire(const struct sim_line *line)
{
	return line->output ? line->latch : true;
}

/* Called with the lock held, so that the record has the order in which things happened. chip is NULL for a mark. */
static void record(const struct sim_chip *chip, unsigned int offset, const char *what)
{
	struct event *event = &events[event_count];

	if (event_count == MAX_EVENTS) {
		lost_count++;
		return;
	}
	event->time = ktime_get_ns();
	event->chip = chip;
	event->offset = offset;
	event->level = chip && wire(&chip->lines[offset]);
	strscpy(event->what, what, sizeof(event->what));
	/* Read without the lock: an event is whole before it counts, and never changes after. */
	smp_store_release(&event_count, event_count + 1);
}

static int sim_request(struct gpio_chip *gpio, unsigned int offset)
{
	unsigned long flags;

	spin_lock_irqsave(&lock, flags);
	record(gpiochip_get_data(gpio), offset, "request");
	spin_unlock_irqrestore(&lock, flags);
	return 0;
}

/* Nothing is set back here: that is what Raspberry Pi kernels do, and what a program must not rely on. */
static void sim_free(struct gpio_chip *gpio, unsigned int offset)
{
	unsigned long flags;

	spin_lock_irqsave(&lock, flags);
	record(gpiochip_get_data(gpio), offset, "free");
	spin_unlock_irqrestore(&lock, flags);
}

static int sim_get_direction(struct gpio_chip *gpio, unsigned int offset)
{
	struct sim_chip *chip = gpiochip_get_data(gpio);

	return chip->lines[offset].output ? GPIO_LINE_DIRECTION_OUT : GPIO_LINE_DIRECTION_IN;
}

static int sim_direction_input(struct gpio_chip *gpio, unsigned int offset)
{
	struct sim_chip *chip = gpiochip_get_data(gpio);
	unsigned long flags;

	spin_lock_irqsave(&lock, flags);
	chip->lines[offset].output = false;
	record(chip, offset, "in");
	spin_unlock_irqrestore(&lock, flags);
	return 0;
}

static int sim_direction_output(struct gpio_chip *gpio, unsigned int offset, int value)
{
	struct sim_chip *chip = gpiochip_get_data(gpio);
	unsigned long flags;

	spin_lock_irqsave(&lock, flags);
	chip->lines[offset].latch = value;
	chip->lines[offset].output = true;
	record(chip, offset, "out");
	spin_unlock_irqrestore(&lock, flags);
	return 0;
}

static int sim_get(struct gpio_chip *gpio, unsigned int offset)
{
	struct sim_chip *chip = gpiochip_get_data(gpio);

	return wire(&chip->lines[offset]);
}

static void sim_set(struct gpio_chip *gpio, unsigned int offset, int value)
{
	struct sim_chip *chip = gpiochip_get_data(gpio);
	unsigned long flags;

	spin_lock_irqsave(&lock, flags);
	chip->lines[offset].latch = value;
	/* What is latched behind an input is not on the wire. */
	if (chip->lines[offset].output)
		record(chip, offset, "out");
	spin_unlock_irqrestore(&lock, flags);
}

static int show_record(struct seq_file *file, void *data)
{
	unsigned int i, count = smp_load_acquire(&event_count);

	for (i = 0; i < count; i++) {
		const struct event *event = &events[i];

		if (event->chip)
			seq_printf(file, "%llu %s:%u %s %d\n", event->time, event->chip->gpio.label, event->offset,
				   event->what, event->level);
		else
			seq_printf(file, "%llu mark %s\n", event->time, event->what);
	}
	if (lost_count)
		seq_printf(file, "lost %u\n", lost_count);
	return 0;
}

static int open_record(struct inode *inode, struct file *file)
{
	return single_open(file, show_record, NULL);
}

static ssize_t write_mark(struct file *file, const char __user *text, size_t length, loff_t *position)
{
	char mark[MARK_LENGTH] = "";
	unsigned long flags;

	if (length >= MARK_LENGTH)
		return -EINVAL;
	if (copy_from_user(mark, text, length))
		return -EFAULT;
	mark[strcspn(mark, "\n")] = '\0';
	spin_lock_irqsave(&lock, flags);
	record(NULL, 0, mark);
	spin_unlock_irqrestore(&lock, flags);
	return length;
}

static const struct proc_ops record_operations = {
	.proc_open = open_record,
	.proc_read = seq_read,
	.proc_write = write_mark,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

/* LABEL:LINES:PREFIX becomes a chip; specification is taken apart and kept. */
static int add_chip(struct sim_chip *chip, char *specification)
{
	const char *label = strsep(&specification, ":"), *lines = strsep(&specification, ":"), *prefix = specification;
	unsigned int count, i;
	int error;

	if (!label || !*label || !lines || kstrtouint(lines, 10, &count) || count == 0 || count > 512) {
		pr_err("gpio-recorder: chip '%s' is not LABEL:LINES:PREFIX with 1 to 512 lines\n", label ? label : "");
		return -EINVAL;
	}
	chip->lines = kcalloc(count, sizeof(*chip->lines), GFP_KERNEL);
	if (!chip->lines)
		return -ENOMEM;
	chip->gpio = (struct gpio_chip){
		.label = label,
		.owner = THIS_MODULE,
		.base = -1,
		.ngpio = count,
		.request = sim_request,
		.free = sim_free,
		.get_direction = sim_get_direction,
		.direction_input = sim_direction_input,
		.direction_output = sim_direction_output,
		.get = sim_get,
		.set = sim_set,
	};
	if (prefix && *prefix) {
		char **names = kcalloc(count, sizeof(*names), GFP_KERNEL);

		if (!names)
			return -ENOMEM;
		chip->gpio.names = (const char *const *)names;
		for (i = 0; i < count; i++) {
			names[i] = kasprintf(GFP_KERNEL, "%s%u", prefix, i);
			if (!names[i])
				return -ENOMEM;
		}
	}
	error = gpiochip_add_data(&chip->gpio, chip);
	if (error) {
		pr_err("gpio-recorder: chip %s could not be added: error %d\n", label, error);
		chip->gpio.gpiodev = NULL;
	}
	return error;
}

static void remove_all(void)
{
	unsigned int i, line;

	remove_proc_entry("gpio-record", NULL);
	for (i = 0; i < MAX_CHIPS; i++) {
		struct sim_chip *chip = &sims[i];

		if (chip->gpio.gpiodev)
			gpiochip_remove(&chip->gpio);
		for (line = 0; chip->gpio.names && line < chip->gpio.ngpio; line++)
			kfree(chip->gpio.names[line]);
		kfree(chip->gpio.names);
		kfree(chip->lines);
	}
	vfree(events);
}

static int __init start(void)
{
	unsigned int i;
	int error = 0;

	events = vzalloc(array_size(MAX_EVENTS, sizeof(*events)));
	if (!events)
		return -ENOMEM;
	if (!proc_create("gpio-record", 0600, NULL, &record_operations)) {
		vfree(events);
		return -ENOMEM;
	}
	for (i = 0; i < chip_count && !error; i++)
		error = add_chip(&sims[i], chips[i]);
	if (error)
		remove_all();
	return error;
}

module_init(start);
module_exit(remove_all);
MODULE_DESCRIPTION("Simulated gpiochips that record every change");
MODULE_LICENSE("Dual MIT/GPL");
