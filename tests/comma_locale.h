// While it lives, the C library writes and reads numbers as in Germany: "0,5".
#pragma once

#include <clocale>
#include <cstdlib>
#include <string>

#include "temp_folder.h"

namespace vivace {

class CommaLocale {
 public:
  // Where no such locale is installed, one is made; a machine may lack what that needs.
  CommaLocale() {
    const std::string made = folder_ / "de_DE.UTF-8";
    if (std::setlocale(LC_NUMERIC, "de_DE.UTF-8") || std::system(("localedef -i de_DE -f UTF-8 '" + made + "' >/dev/null 2>&1").c_str()) != 0) return;
    ::setenv("LOCPATH", folder_.path().c_str(), 1);
    std::setlocale(LC_NUMERIC, "de_DE.UTF-8");
    ::unsetenv("LOCPATH");
  }
  ~CommaLocale() { std::setlocale(LC_NUMERIC, "C"); }
  CommaLocale(const CommaLocale&) = delete;

  bool is_there() const { return *std::localeconv()->decimal_point == ','; }

 private:
  TempFolder folder_;
};

}  // namespace vivace
