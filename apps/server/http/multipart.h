// A form with files, as browsers and OpenAI's clients send them: multipart/form-data.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vivace::server {

struct FormPart {
  std::string name, filename;  // filename is empty for what is no file
  std::string_view data;       // of the body
};

// Its name, without the "[]" that some clients put behind that of one of several: "image" of "image[]".
std::string form_name(const FormPart& part);

bool is_multipart(std::string_view content_type);
// `content_type` as the request's head has it. The parts live as long as `body`. Throws UsageError for what is no such form.
std::vector<FormPart> parse_multipart(std::string_view content_type, std::string_view body);

}  // namespace vivace::server
