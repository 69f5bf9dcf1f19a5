// What is left to do where a mapped file loses pages (somebody cuts it short, its disk fails): say which file it was.
#pragma once

#include <cstddef>

namespace vivace {

// For programs, before they open files: reading a lost page of a file that FileMap has mapped then ends the process with exit code 1 and one line,
// "<program>: <path>: ...", instead of SIGBUS without a word. Any other SIGBUS ends it as before. The library leaves signals to the program it is
// part of.
void explain_lost_pages(const char* program);

// FileMap's: `path` must outlive the range. More than the table holds are not remembered.
void remember_mapping(const std::byte* data, size_t size, const char* path);
void forget_mapping(const std::byte* data);

}  // namespace vivace
