// What of libFuzzer (LLVM, compiler-rt/lib/fuzzer/FuzzerDriver.cpp) has no header.
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*judge)(const uint8_t *data, size_t size));
