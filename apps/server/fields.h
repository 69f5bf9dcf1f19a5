// The fields of a request's JSON, or of a form, read strictly: what is wrong is named.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "http/multipart.h"
#include "job.h"
#include "vivace/error.h"

namespace vivace::server {

// A field of a request is wrong.
class FieldError : public UsageError {
 public:
  FieldError(std::string the_field, const std::string& what, int the_status = 400)
      : UsageError(what), field(std::move(the_field)), status(the_status) {}
  std::string field;
  int status;  // of HTTP
};

// A field that is null counts as one that is not there. All throw FieldError for another type, and for what is out of range.
class Fields {
 public:
  // Of a body. Throws UsageError where it is no JSON object.
  explicit Fields(const std::string& body);
  // Of a form's parts but for its files: all of them are texts, and what is read as something else is JSON. "image[]" is called "image".
  static Fields of_form(const std::vector<FormPart>& parts);

  bool has(std::string_view name);
  std::optional<std::string> text(std::string_view name, size_t most_bytes);
  std::optional<int64_t> integer(std::string_view name, int64_t least, int64_t most);
  std::optional<double> number(std::string_view name, double least, double most);
  std::optional<bool> flag(std::string_view name);
  // One of `names`.
  std::optional<std::string> choice(std::string_view name, std::initializer_list<std::string_view> names);
  // A number, a flag, an object or a list, as it is.
  const nlohmann::json* value(std::string_view name);
  // A field that is refused unless it says nothing: null, false, 0, "", [] or {}.
  void refuse(std::string_view name, const std::string& why);
  // All of it.
  const nlohmann::json& object() const { return object_; }
  // What somebody has asked for so far.
  nlohmann::json known() const;
  // In the place of one that is there.
  void replace(std::string_view name, nlohmann::json value);
  // Throws FieldError where there is a field that nobody has asked for.
  void finish() const;

 private:
  Fields() : object_(nlohmann::json::object()) {}
  nlohmann::json* found(std::string_view name);

  nlohmann::json object_;
  bool form_ = false;
  std::set<std::string, std::less<>> asked_;
};

// What the exception that is being handled is to its client.
Failure failure_of_exception();

}  // namespace vivace::server
