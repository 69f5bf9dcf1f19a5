// Forms of a request, and the fields in them: any bytes give parts or a UsageError of one line. The first line is the Content-Type.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "fields.h"

using namespace vivace;
using namespace vivace::server;

namespace {

void read_all(Fields fields) {
  fields.integer("n", 1, 10);
  fields.number("strength", 0, 1);
  fields.flag("stream");
  fields.choice("quality", {"low", "high"});
  fields.text("prompt", 1000);
  fields.value("loras");
  fields.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(input.find('\n'), input.size());
  const std::string body(input.substr(std::min(line + 1, size)));
  const auto one_line = [](const auto& read) {
    try {
      read();
    } catch (const UsageError& error) {
      if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
    }
  };
  one_line([&] {
    const auto parts = parse_multipart(input.substr(0, line), body);
    for (const FormPart& part : parts)
      if (part.data.data() < body.data() || part.data.data() + part.data.size() > body.data() + body.size()) std::abort();
    read_all(Fields::of_form(parts));
  });
  one_line([&] { read_all(Fields(body)); });
  return 0;
}
