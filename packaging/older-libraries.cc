// What Debian's Swift runtime for arm64 asks of glibc 2.38 and of GCC 13's C++ library, for programs that run on Debian 12,
// which has glibc 2.36 and GCC 12's. packaging/debs links it into them.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
// GCC 12's header makes the streams ready in each file that includes it; from 13 on the library does, and asks for a symbol.
#include <iostream>

extern "C" {

void _ZSt21ios_base_library_initv() {}

// C23's, which also take 0b101 where the base is 0 or 2. What the runtime reads that way is decimal or hexadecimal.
long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
long long __isoc23_strtoll(const char *text, char **end, int base) { return strtoll(text, end, base); }
unsigned long __isoc23_strtoul(const char *text, char **end, int base) { return strtoul(text, end, base); }

int __isoc23_sscanf(const char *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int count = vsscanf(text, format, arguments);
    va_end(arguments);
    return count;
}

// strlcpy(3), strlcat(3).
size_t strlcpy(char *to, const char *from, size_t size) {
    size_t length = strlen(from);
    if (size > 0) {
        size_t copied = length < size ? length : size - 1;
        memcpy(to, from, copied);
        to[copied] = 0;
    }
    return length;
}

size_t strlcat(char *to, const char *from, size_t size) {
    size_t length = strnlen(to, size);
    return length + strlcpy(to + length, from, size - length);
}

}
