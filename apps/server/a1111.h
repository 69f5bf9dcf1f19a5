// AUTOMATIC1111's web UI: what its requests ask for. A field that would change the picture and that there is nothing for is refused; what only
// concerns that program's own window or files is ignored, as it ignores what it does not know.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "service.h"

namespace vivace::server {

// All of them throw FieldError.
Drawing read_txt2img(Fields& fields, Service& service);
// The same, with a picture and perhaps a mask.
Drawing read_img2img(Fields& fields, Service& service);
// The model of this title, which older clients send as "sdxl [31e35c80fc]"; `field` is what named it.
std::string model_named(Service& service, const std::string& title, const char* field);

// What it says of the pictures of a job that is done.
nlohmann::json info_json(const Job& job, const JobStatus& status);
std::string timestamp();

}  // namespace vivace::server
