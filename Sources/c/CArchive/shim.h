#pragma once
#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

/// `archive_read_next_header` with this thread's LC_CTYPE set to UTF-8 meanwhile: libarchive takes the bytes of a name for
/// text of the locale's, and has none where it is none ("Pathname cannot be converted" with LC_ALL=C).
static inline int carchive_read_next_header(struct archive *archive, struct archive_entry **entry) {
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = utf8 ? uselocale(utf8) : (locale_t)0;
    int code = archive_read_next_header(archive, entry);
    if (utf8) {
        uselocale(before);
        freelocale(utf8);
    }
    return code;
}
