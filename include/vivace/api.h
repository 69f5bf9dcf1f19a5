// What the library gives away. Everything in it is hidden but what the public headers declare: they put this macro behind the name of their
// namespace.
#pragma once

#if defined(__GNUC__)
#define VIVACE_API __attribute__((visibility("default")))
#else
#define VIVACE_API
#endif
