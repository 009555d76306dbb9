#pragma once
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>
#include <et/com_err.h>

/* A mutable global in C's eyes, which Swift 6 does not let through. */
static inline io_manager cext2fs_unix_io_manager(void)
{
    return unix_io_manager;
}
