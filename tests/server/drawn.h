// Pictures of the server that the tests of its interfaces share, and of the program, to compare them with.
#pragma once

#include "../temp_folder.h"
#include "client.h"
#include "vivace/image.h"

namespace vivace::server {

// One for the process, with previews after each step, and with adapters to be named: "first", "second", and "wrong", which is for another model.
const Running& server();
Answer post(const std::string& path, const nlohmann::json& body);
std::string bytes_of(const nlohmann::json& base64);
Image image_of(const std::string& bytes);
// What the program draws for "a red apple", with these arguments.
std::string generated(const std::vector<std::string>& more);
// A file of that folder of adapters.
std::string lora_file(const std::string& name);
// A copy of the tiny model whose own class is another: "StableDiffusionXLInpaintPipeline".
std::string tiny_as(const TempFolder& folder, const std::string& class_name);
// A form's text or file.
struct Field {
  std::string name, value, filename = {};
};
Answer post_form(const std::string& path, const std::vector<Field>& fields);
// A picture of 32 x 32 pixels, and a mask of its left half.
const std::string& photo();
const std::string& left_half();
// As files, for the program.
std::string photo_file();
std::string left_half_file();

}  // namespace vivace::server
